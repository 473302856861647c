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

// The cells table: rows are chosen by text, by menus, and by a number whose cells were asked for.
const table = document.getElementById("cell-table");
const filters = document.getElementById("filters");
const rows = Array.from(table.tBodies[0].rows);
const menus = Array.from(filters.querySelectorAll("select"));
let asked = null; // { ids, text } of the number that was clicked

function matches(row) {
  if (asked && !asked.ids.has(row.cells[0].textContent)) return false;
  if (!menus.every((menu) => !menu.value || row.cells[Number(menu.dataset.column)].textContent === menu.value)) return false;
  const text = row.textContent.toLowerCase();
  return filters.elements.text.value.toLowerCase().split(/\s+/).every((word) => text.includes(word));
}
function apply() {
  let shown = 0;
  for (const row of rows) {
    row.hidden = !matches(row);
    shown += !row.hidden;
  }
  const behind = asked ? `, behind “${asked.text}”` : "";
  filters.querySelector("output").textContent = `${shown} of ${rows.length} rows${behind}`;
}
function clear() {
  filters.elements.text.value = "";
  for (const menu of menus) menu.value = "";
  asked = null;
  apply();
}
filters.addEventListener("input", apply);
filters.addEventListener("change", apply);
filters.addEventListener("submit", (event) => event.preventDefault());
filters.addEventListener("reset", (event) => {
  event.preventDefault();
  clear();
});
document.addEventListener("click", (event) => {
  const link = event.target.closest("a");
  if (!link) return;
  if (link.dataset.cells) {
    clear();
    asked = { ids: new Set(link.dataset.cells.split(" ")), text: link.textContent };
    apply();
  } else if (link.hash && document.getElementById(link.hash.slice(1))?.hidden) {
    clear(); // a row that a filter hides cannot be gone to
  }
});
filters.hidden = false;
clear();
