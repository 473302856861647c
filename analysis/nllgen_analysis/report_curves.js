// The curves of a figure, drawn again by uPlot when a reader opens them: values, zoom, single runs, scales.
const dark = matchMedia("(prefers-color-scheme: dark)");
const DASHES = { "--": [8, 5], ":": [2, 4], "-.": [8, 4, 2, 4] };
const SCALES = { linear: 1, log: 3, symlog: 4 }; // of the vertical axis → uPlot's distribution
const HEIGHT = 380;
const SHARE_OF_TINY = 1e-3; // of the median size of values: below it a symlog axis is linear

function style(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}
// A colour of a figure, or the one that stands for it on a dark page.
function shown(colour) {
  return style(`--c${colour.slice(1)}`) || colour;
}
function element(tag, props = {}, ...children) {
  const made = Object.assign(document.createElement(tag), props);
  made.append(...children);
  return made;
}
function written(value) {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  const text = size !== 0 && (size >= 1e7 || size < 1e-4) ? value.toExponential(3)
    : value.toLocaleString("en", { maximumSignificantDigits: 5 });
  return text.replace("-", "−");
}
// Put values on the union of all horizontal values; null where a curve has none.
function aligned(panel, scale) {
  const xs = [...new Set(panel.grids.flat())].sort((a, b) => a - b);
  const place = new Map(xs.map((x, i) => [x, i]));
  const places = panel.grids.map((grid) => grid.map((x) => place.get(x)));
  const column = (grid, values) => {
    const full = new Array(xs.length).fill(null);
    values.forEach((value, i) => {
      full[places[grid][i]] = scale === "log" && value <= 0 ? null : value;
    });
    return full;
  };
  return { xs, column };
}
// The curves in the order in which they are drawn: runs behind means.
function listed(panel) {
  const runs = panel.series.flatMap((series) => series.runs.map((run) => ({ series, run })));
  return [...runs, ...panel.series.map((series) => ({ series, run: null }))];
}

class CurvesView {
  constructor(box) {
    this.panels = JSON.parse(box.querySelector("script").textContent);
    this.hidden = new Set(); // keys of curves that are off
    this.readout = element("p", { className: "readout" });
    this.plotBox = element("div", { className: "u-plot" });
    this.lines = element("div", { className: "lines" });
    this.choice = element("select", { ariaLabel: "panel" }, ...this.panels.map((panel, i) => element("option", { value: i }, panel.title)));
    this.scale = element("select", { ariaLabel: "vertical scale" }, ...Object.keys(SCALES).map((name) => element("option", { value: name }, name)));
    this.band = element("input", { type: "checkbox", checked: true });
    this.runs = element("input", { type: "checkbox", checked: true });
    const whole = element("button", { type: "button", className: "whole" }, "whole range");
    box.append(
      element("div", { className: "tools" }, ...(this.panels.length > 1 ? [element("label", {}, "panel ", this.choice)] : []),
        element("label", {}, "scale ", this.scale), element("label", { className: "all-runs" }, this.runs, " runs"),
        element("label", {}, this.band, " intervals"), whole, "Drag to zoom; a double click shows the whole range."),
      this.readout, this.plotBox, this.lines);
    this.choice.addEventListener("change", () => this.choose());
    for (const control of [this.scale, this.band, this.runs]) control.addEventListener("change", () => this.draw());
    whole.addEventListener("click", () => this.draw());
    dark.addEventListener("change", () => this.draw());
    new ResizeObserver(() => this.plot?.setSize({ width: this.width(), height: HEIGHT })).observe(box);
    this.choose();
  }
  width() {
    return Math.max(240, this.plotBox.parentElement.clientWidth);
  }
  choose() {
    this.panel = this.panels[Number(this.choice.value)];
    this.curves = listed(this.panel);
    this.scale.value = this.panel.scale;
    this.draw();
  }
  key(curve) {
    return JSON.stringify([curve.series.name, curve.run ? curve.run.cell : null]);
  }
  isShown(curve) {
    if (this.hidden.has(this.key(curve))) return false;
    return curve.run === null || (this.runs.checked && !this.hidden.has(this.key({ series: curve.series, run: null })));
  }
  draw() {
    const { panel, curves } = this;
    const { xs, column } = aligned(panel, this.scale.value);
    const data = [xs];
    const series = [{}];
    const bands = [];
    for (const curve of curves) {
      const { series: own, run } = curve;
      const colour = shown(own.colour);
      curve.place = data.length;
      data.push(column(run ? run.grid : own.grid, run ? run.values : own.values));
      series.push({ stroke: run ? `${colour}66` : colour, width: run ? 1 : 2.5, dash: DASHES[own.dash], spanGaps: true,
        points: { show: false }, show: this.isShown(curve) });
      if (!run && this.band.checked && this.isShown(curve)) {
        for (const edge of [own.high, own.low]) {
          data.push(column(own.grid, edge));
          series.push({ stroke: "transparent", width: 0, points: { show: false }, spanGaps: true });
        }
        bands.push({ series: [data.length - 2, data.length - 1], fill: `${colour}26` });
      }
    }
    this.plot?.destroy();
    this.plot = new uPlot(this.options(series, bands, data), data, this.plotBox);
    this.list();
  }
  options(series, bands, data) {
    const axis = (label, kept, size) => ({ label, size, stroke: style("--soft"), ticks: { stroke: style("--line"), width: 1 },
      grid: { stroke: style("--line"), width: 1, filter: (_, ticks) => kept(ticks) },
      values: (_, ticks) => kept(ticks).map((tick) => (tick === null ? "" : written(tick))) });
    const values = this.curves.filter((curve) => this.isShown(curve)).flatMap((curve) => data[curve.place]).filter((value) => value !== null);
    this.edges = values.reduce(([least, most], value) => [Math.min(least, value), Math.max(most, value)], [Infinity, -Infinity]);
    const sizes = values.filter((value) => value !== 0).map(Math.abs).sort((a, b) => a - b);
    return {
      width: this.width(), height: HEIGHT, series, bands, legend: { show: false },
      scales: { x: { time: false }, y: { distr: SCALES[this.scale.value], asinh: (sizes[sizes.length >> 1] || 1) * SHARE_OF_TINY,
        range: this.scale.value === "linear" ? undefined : (_, low, high) => this.within(low, high) } },
      axes: [axis(this.panel.x_label, (ticks) => ticks, 40), axis(this.panel.y_label, (ticks) => this.major(ticks), 74)],
      cursor: { drag: { x: true, y: true, uni: 40 }, focus: { prox: 24 } },
      focus: { alpha: 0.35 },
      hooks: { setCursor: [() => this.tell()], setSeries: [(_, place) => { this.focused = place; this.tell(); }] },
    };
  }
  // Keep of the ticks of a logarithmic axis the powers of ten, where two of them are in view.
  major(ticks) {
    const isPower = (tick) => tick !== null && Math.abs(Math.log10(tick) - Math.round(Math.log10(tick))) < 1e-9;
    if (this.scale.value !== "log" || ticks.filter(isPower).length < 2) return ticks;
    return ticks.map((tick) => (isPower(tick) ? tick : null));
  }
  // Intervals of few seeds may reach far beyond the values: an axis that is not linear ends at these.
  within(low, high) {
    if (low === null || high === null) return [1, 10]; // every curve is off
    const [least, most] = [Math.max(low, this.edges[0]), Math.min(high, this.edges[1])];
    if (!(least < most)) return [Math.min(low, least * 0.9), Math.max(high, least * 1.1 || 1)];
    return this.scale.value === "log" ? [least / 1.1, most * 1.1] : [least, most];
  }
  list() {
    this.lines.replaceChildren(...this.panel.series.map((series) => {
      const mean = { series, run: null };
      const box = element("input", { type: "checkbox", checked: !this.hidden.has(this.key(mean)) });
      box.addEventListener("change", () => this.toggle(mean, box.checked));
      const swatch = element("span", { className: "swatch" });
      swatch.style.borderColor = shown(series.colour);
      swatch.style.borderTopStyle = series.dash === "-" ? "solid" : "dashed";
      const runs = series.runs.map((run) => {
        const curve = { series, run };
        const button = element("button", { type: "button", title: `seed ${run.seed}, cell ${run.cell}` }, run.seed);
        button.setAttribute("aria-pressed", String(!this.hidden.has(this.key(curve))));
        button.addEventListener("click", () => this.toggle(curve, button.getAttribute("aria-pressed") === "false"));
        return button;
      });
      return element("div", { className: "line" }, element("label", {}, box, " ", swatch, ` ${series.name}`),
        element("output"), element("span", { className: "runs" }, "seeds ", ...runs));
    }));
  }
  toggle(curve, isOn) {
    this.hidden[isOn ? "delete" : "add"](this.key(curve));
    this.draw();
  }
  // Write the values under the cursor: of every mean beside its name, of the nearest curve above the plot.
  tell() {
    const index = this.plot?.cursor.idx;
    const outputs = this.lines.querySelectorAll("output");
    const has = index !== null && index !== undefined;
    this.panel.series.forEach((series, i) => {
      const place = this.curves.find((curve) => curve.series === series && curve.run === null).place;
      if (outputs[i]) outputs[i].textContent = has ? written(this.plot.data[place][index]) : "";
    });
    const near = this.curves.find((curve) => curve.place === this.focused);
    const at = has ? `${this.panel.x_label} ${written(this.plot.data[0][index])}` : "";
    const value = has && near ? `: ${near.series.name}, ${near.run ? `seed ${near.run.seed}` : "mean"}: ${written(this.plot.data[near.place][index])}` : "";
    this.readout.textContent = at + value;
  }
}
for (const box of document.querySelectorAll("details.curves")) {
  box.addEventListener("toggle", () => {
    if (box.open && !box.view) box.view = new CurvesView(box);
  });
}
