"use strict";
// Panels stand side by side while each has 300 px, and in rows below one another otherwise.
const ROW_HEIGHT = 280, GAP = { x: 78, y: 92 }, MARGIN = { l: 62, r: 14, t: 58, b: 54 };

function arrange(layout, width) {
  const panels = layout.meta.panels, entries = layout.meta.legend;
  const columns = width >= 300 * panels ? panels : width >= 640 ? Math.ceil(panels / 2) : 1;
  const rows = Math.ceil(panels / columns);
  const inner = { x: width - MARGIN.l - MARGIN.r, y: rows * ROW_HEIGHT + (rows - 1) * GAP.y };
  const gap = { x: GAP.x / inner.x, y: GAP.y / inner.y };
  const cell = { x: (1 - (columns - 1) * gap.x) / columns, y: (1 - (rows - 1) * gap.y) / rows };
  const update = {};
  for (let index = 0; index < panels; index++) {
    const suffix = index ? index + 1 : "";
    const left = (index % columns) * (cell.x + gap.x);
    const top = 1 - Math.floor(index / columns) * (cell.y + gap.y);
    update["xaxis" + suffix + ".domain"] = [left, Math.min(1, left + cell.x)];
    update["yaxis" + suffix + ".domain"] = [Math.max(0, top - cell.y), Math.min(1, top)];
  }
  const longest = Math.max(0, ...entries.map((text) => text.length)) * 6.4 + 50;
  const across = Math.max(1, Math.floor(inner.x / longest));
  const legend = entries.length ? Math.ceil(entries.length / across) * 19 + 8 : 0;
  update["margin"] = { ...MARGIN, t: MARGIN.t + legend };
  update["legend.y"] = 1 + 28 / inner.y;
  update["width"] = width;
  update["height"] = inner.y + MARGIN.t + legend + MARGIN.b;
  return update;
}

const plots = document.querySelectorAll(".plot");

function save(plot, format) {
  const scale = format === "png" ? 4 : 1;
  const { width, height } = plot.layout;
  return Plotly.downloadImage(plot, { format, scale, width, height, filename: plot.dataset.figure });
}

for (const plot of plots) {
  const { data, layout } = JSON.parse(document.getElementById("drawn-" + plot.dataset.figure).textContent);
  const width = plot.clientWidth;
  Plotly.newPlot(plot, data, layout, {
    displaylogo: false,
    responsive: false,
    modeBarButtons: [["zoom2d", "pan2d", "resetScale2d"], [
      { name: "Save as SVG", icon: Plotly.Icons.camera, click: (it) => save(it, "svg") },
      { name: "Save as PNG", icon: Plotly.Icons.disk, click: (it) => save(it, "png") },
    ]],
  }).then(() => Plotly.relayout(plot, arrange(layout, width)));
}

function fit(width) {
  for (const plot of plots) {
    const across = width || plot.clientWidth;
    if (plot.layout && plot.layout.width !== across) Plotly.relayout(plot, arrange(plot.layout, across));
  }
}

let waiting;
window.addEventListener("resize", () => {
  clearTimeout(waiting);
  waiting = setTimeout(fit, 120);
});
window.addEventListener("beforeprint", () => fit(640));
window.addEventListener("afterprint", () => fit());

document.addEventListener("click", (event) => {
  const { save: format, of: name, copy } = event.target.dataset;
  if (format) save(document.querySelector(`.plot[data-figure="${name}"]`), format);
  if (copy) {
    const code = document.getElementById(copy);
    const range = document.createRange();
    range.selectNodeContents(code);
    getSelection().removeAllRanges();
    getSelection().addRange(range);
    const done = (word) => { event.target.textContent = word; };
    // Without the clipboard's permission the command stays selected for the keyboard.
    navigator.clipboard ? navigator.clipboard.writeText(code.textContent).then(() => done("Copied"), () => done("Selected")) : done("Selected");
  }
});
