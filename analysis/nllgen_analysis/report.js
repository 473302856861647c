"use strict";
// Sort by a column's numbers where it has them, else by its text; cells without a number stay last.
function sortBy(table, index, descending) {
  const sign = descending ? -1 : 1;
  const rows = Array.from(table.tBodies[0].rows, (row) => {
    const cell = row.cells[index];
    const key = cell.dataset.key;
    return { row, text: cell.textContent, key: key === undefined ? NaN : Number(key) };
  });
  const numeric = rows.some((item) => !Number.isNaN(item.key));
  rows.sort((a, b) => {
    if (!numeric) return sign * a.text.localeCompare(b.text, "en", { numeric: true });
    const lost = Number.isNaN(a.key) - Number.isNaN(b.key);
    return lost || sign * (a.key - b.key) || 0;
  });
  table.tBodies[0].append(...rows.map((item) => item.row));
}
for (const table of document.querySelectorAll("table.sortable")) {
  Array.from(table.tHead.rows[0].cells).forEach((head, index) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const descending = head.getAttribute("aria-sort") === "ascending";
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", descending ? "descending" : "ascending");
      sortBy(table, index, descending);
    });
  });
}
