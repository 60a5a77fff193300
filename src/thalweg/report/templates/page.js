"use strict";
// The figure comes arranged for several widths; the widest that has room is taken and stretched.
function arrange({ data, layout }, width) {
  const all = layout.meta.arrangements;
  const { layout: places, legends, names } = all.filter((it) => it.width <= width).pop() || all[0];
  const laid = Object.fromEntries(Object.entries(layout).filter(([key]) => !key.startsWith("legend")));
  for (const [key, value] of Object.entries(places)) {
    laid[key] = /^[xy]axis/.test(key) ? { ...layout[key], ...value } : value;
  }
  const traces = data.map((trace, at) => ({
    ...trace, legend: legends[at], name: names[at] ?? trace.name,
  }));
  return [traces, { ...laid, width }];
}

// Labels chosen for a whole logarithmic axis are too few once a reader looks closer.
function relabel(plot) {
  const update = {};
  for (const [name, axis] of Object.entries(plot.layout)) {
    if (!/^[xy]axis/.test(name) || axis.type !== "log" || !axis.tickvals) continue;
    const whole = figures.get(plot).layout[name].range;
    const span = whole[1] - whole[0];
    const same = axis.range.every((end, i) => Math.abs(end - whole[i]) < 0.01 * span);
    const mode = same ? "array" : "auto";
    if (axis.tickmode !== mode) {
      update[name + ".tickmode"] = update[name + ".minor.tickmode"] = mode;
    }
  }
  if (Object.keys(update).length) Plotly.relayout(plot, update);
}

const figures = new Map();
const plots = document.querySelectorAll(".plot");

function save(plot, format) {
  const scale = format === "png" ? 4 : 1;
  const { width, height } = plot.layout;
  return Plotly.downloadImage(plot, { format, scale, width, height, filename: plot.dataset.figure });
}

for (const plot of plots) {
  const figure = JSON.parse(document.getElementById("drawn-" + plot.dataset.figure).textContent);
  figures.set(plot, figure);
  Plotly.newPlot(plot, ...arrange(figure, plot.clientWidth), {
    displaylogo: false,
    responsive: false,
    modeBarButtons: [["zoom2d", "pan2d", "resetScale2d"], [
      { name: "Save as SVG", icon: Plotly.Icons.camera, click: (it) => save(it, "svg") },
      { name: "Save as PNG", icon: Plotly.Icons.disk, click: (it) => save(it, "png") },
    ]],
  }).then(() => plot.on("plotly_relayout", () => relabel(plot)));
}

function fit(width) {
  for (const plot of plots) {
    const across = width || plot.clientWidth;
    if (plot.layout && plot.layout.width !== across) Plotly.react(plot, ...arrange(figures.get(plot), across));
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
