"use strict";
// Draws the figures that the page contains; marks the page as drawn, or says why drawing failed.
const root = document.documentElement;
const config = {
  displaylogo: false, responsive: true, showSendToCloud: false, modeBarButtonsToRemove: ["lasso2d", "select2d"],
};
const plots = [];

const pause = () => new Promise((done) => setTimeout(done));  // lets the browser handle events

async function unpacked(id) {
  const bytes = Uint8Array.from(atob(document.getElementById(id).textContent), (letter) => letter.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
}

async function draw() {
  const library = document.createElement("script");
  library.textContent = await unpacked("plotly");
  document.head.append(library);
  const figures = JSON.parse(await unpacked("figures"));
  for (const place of document.querySelectorAll(".plot")) {
    const { data, layout } = figures[place.dataset.figure];
    await Plotly.newPlot(place, data, layout, config);
    plots.push(place);
    place.on("plotly_relayout", (change) => zoom(place, change));
    await pause();
  }
  root.dataset.drawn = plots.length;
}

// All charts show the same time range. A chart that follows fires the same event, which is ignored; a later zoom wins.
let shown = "";
async function zoom(origin, change) {
  const range = Object.fromEntries(Object.entries(change).filter(([name]) => name.startsWith("xaxis.")));
  const wanted = JSON.stringify(range);
  if (wanted === "{}" || wanted === shown) return;
  shown = wanted;
  for (const plot of plots) {
    if (plot !== origin) await Plotly.relayout(plot, { ...range });
    await pause();
    if (wanted !== shown) return;
  }
}

function sort(heading) {
  const at = heading.cellIndex;
  const body = heading.closest("table").tBodies[0];
  const turned = heading.dataset.turned !== "true";
  heading.dataset.turned = turned;
  const value = (row) => row.cells[at].dataset.value;
  const order = (left, right) =>
    at === 0
      ? left.cells[0].textContent.localeCompare(right.cells[0].textContent)
      : (value(left) === "") - (value(right) === "") || (turned ? 1 : -1) * (value(right) - value(left));
  const rows = [...body.rows].sort(order);
  body.append(...(at === 0 && !turned ? rows.reverse() : rows));
}

function fit() {
  for (const plot of plots) Plotly.relayout(plot, { width: plot.clientWidth, height: plot.clientHeight });
}

addEventListener("beforeprint", () => {
  root.classList.add("printing");
  for (const marks of document.querySelectorAll("details")) marks.open = true;
  fit();
});
addEventListener("afterprint", () => { root.classList.remove("printing"); fit(); });
document.getElementById("theme").addEventListener("click", () => {
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
});
for (const heading of document.querySelectorAll("thead th")) {
  heading.addEventListener("click", () => sort(heading));
  heading.addEventListener("keydown", (event) => { if (event.key === "Enter") sort(heading); });
}
draw().catch((error) => {
  const trouble = document.getElementById("trouble");
  trouble.textContent = `This browser cannot draw the charts: ${error}`;
  trouble.hidden = false;
  throw error;
});
