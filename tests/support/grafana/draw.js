// A whole dashboard drawn with the components of @grafana/ui, in Grafana's grid: ../grafanacode.py calls `draw`.
import "@fontsource/inter/latin-400.css";
import "@fontsource/inter/latin-500.css";
import { ThemeContext, getDisplayValueAlignmentFactors, getFieldDisplayName, getFieldDisplayValues } from "@grafana/data";
import { BigValue, GlobalStyles, PanelChrome, TimeSeries, VizRepeater } from "@grafana/ui";
import { Table } from "@shipper/table";
import { createElement as h } from "react";
import { createRoot } from "react-dom/client";
import { prepared, scene, themes, timeRange } from "./panels.js";

// The grid of a dashboard: https://github.com/grafana/grafana, public/app/core/constants.ts
const COLUMNS = 24, CELL = 30, GAP = 8, EDGE = 16, HEAD = 40;
// What the panels' plugins set where a dashboard says nothing
const LINES = {
  drawStyle: "line", lineInterpolation: "linear", lineWidth: 1, fillOpacity: 0, gradientMode: "none", axisPlacement: "auto",
  axisBorderShow: false, axisColorMode: "text", pointSize: 5, scaleDistribution: { type: "linear" },
};
const CELLS = { align: "auto", cellOptions: { type: "auto" }, inspect: false };

function stat({ panel, data, replaceVariables, theme, range: timeRange }, width, height) {
  const { reduceOptions, graphMode, colorMode, textMode, justifyMode, orientation } = panel.options;
  const sparkline = graphMode !== "none";
  const getValues = () => getFieldDisplayValues({
    fieldConfig: panel.fieldConfig, reduceOptions, replaceVariables, theme, data, sparkline, timeZone: "utc",
  });
  const renderValue = ({ value, alignmentFactors, width, height, count }) => h(BigValue, {
    value: value.display, sparkline: value.sparkline && { ...value.sparkline, timeRange }, alignmentFactors, width, height, count, theme, colorMode, graphMode, textMode,
    justifyMode: justifyMode ?? "auto",
  });
  const getAlignmentFactors = getDisplayValueAlignmentFactors;
  const sized = { width, height, itemSpacing: 3, renderCounter: 1, source: data, autoGrid: true };
  return h(VizRepeater, { getValues, getAlignmentFactors, renderValue, orientation: orientation ?? "auto", ...sized });
}

function table({ panel, data, range }, width, height) {
  const fieldConfig = { defaults: {}, overrides: [] };
  const more = { fieldConfig, initialSortBy: panel.options.sortBy, sortBy: panel.options.sortBy, timeRange: range };
  const frame = { ...data[0], fields: data[0].fields.filter((field) => !field.config.custom?.hidden) };
  return h(Table, { data: frame, width, height, cellHeight: panel.options.cellHeight, resizable: true, ...more });
}

// Like the panel's plugin: without frames that have no number, and a line keeps its name, which decides its colour
const graphable = (data) => data.flatMap((frame) => {
  const number = frame.fields.find((field) => field.type === "number");
  return number ? [{ ...frame, name: getFieldDisplayName(number, frame, data) }] : [];
});

function lines({ panel, data, range }, width, height) {
  const drawn = h(TimeSeries, { frames: graphable(data), structureRev: 1, width, height, timeRange: range, timeZone: "utc", legend: panel.options.legend });
  return h("div", { "data-legend": true }, drawn);
}

const without = (text) => () => h("div", { style: { padding: 8, opacity: 0.6 } }, text);
const KINDS = {
  stat, table, timeseries: lines,
  "status-history": without("Status history: @grafana/ui has no component for it, so nothing is drawn here."),
};

async function filled(page, { panel, frames }, range, theme) {
  const custom = { timeseries: LINES, table: CELLS }[panel.type];
  const defaults = { ...panel.fieldConfig?.defaults, custom: { ...custom, ...panel.fieldConfig?.defaults?.custom } };
  const whole = { ...panel, fieldConfig: { ...panel.fieldConfig, defaults } };
  if (!KINDS[panel.type]) return { panel };
  return { panel: whole, range, theme, ...(await prepared(page, whole, frames, theme)) };
}

const empty = ({ data }) => !data.some((frame) => frame.length);

function content(one) {
  if (one.panel.type === "text") return without(one.panel.options.content);
  if (empty(one) && one.panel.type !== "stat") return without(one.panel.fieldConfig.defaults.noValue);
  return (width, height) => KINDS[one.panel.type](one, width, height);
}

function placed(one, step) {
  const { x, y, w, h: rows } = one.panel.gridPos;
  const box = { width: w * step - GAP, height: rows * (CELL + GAP) - GAP };
  const style = { position: "absolute", left: x * step, top: y * (CELL + GAP), ...box };
  if (one.panel.type === "row") {
    const title = `${one.panel.collapsed ? "›" : "⌄"} ${one.panel.title}`;
    return h("div", { key: one.panel.id, style: { ...style, fontWeight: 500, fontSize: 16 } }, title);
  }
  const { title, description } = one.panel;
  const chrome = h(PanelChrome, { title, ...box }, (width, height) =>
    h("div", { "data-content": one.panel.id, style: { width, height } }, content(one)(width, height)));
  return h("div", { key: one.panel.id, "data-panel": one.panel.id, style, title: description }, chrome);
}

const frame = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done)));

// Sizes and texts as drawn, by the panel's id
function measured() {
  return Object.fromEntries([...document.querySelectorAll("[data-content]")].map((content) => {
    const plot = content.querySelector("[data-legend] .uplot"), grid = content.querySelector("[role=grid],[role=table]");
    const all = content.getBoundingClientRect(), own = plot?.getBoundingClientRect();
    return [content.dataset.content, {
      text: content.textContent, // innerText leaves out what is below the window
      legend: own ? { height: 1 - own.height / all.height, width: 1 - own.width / all.width } : null,
      plots: content.querySelectorAll(".uplot").length,
      scrolls: grid ? grid.scrollWidth > grid.clientWidth : null,
      headings: [...content.querySelectorAll("[role=columnheader]")].filter(overflows).map((cell) => cell.textContent),
      // Numbers that their cells have no room for; the first cell is a name
      cut: [...content.querySelectorAll("[role=gridcell],[role=cell]")].filter((cell) => cell.previousElementSibling && overflows(cell))
        .map((cell) => cell.textContent),
      rows: [...content.querySelectorAll("[role=row]")].map((row) =>
        [...row.querySelectorAll("[role=gridcell],[role=cell]")].map((cell) => cell.textContent)).filter((row) => row.length),
    }];
  }));
}

// Text that leaves its cell at the left, as right-aligned text does, is not in scrollWidth
function overflows(cell) {
  const text = document.createRange(), room = cell.getBoundingClientRect();
  text.selectNodeContents(cell);
  return text.getBoundingClientRect().left < room.left - 1
    || [cell, ...cell.querySelectorAll("*")].some((part) => part.scrollWidth > part.clientWidth + 4);
}

let root;
window.draw = async ({ panels, theme: mode, width, ...page }) => {
  const theme = themes[mode];
  const range = timeRange(page.range);
  const chosen = scene(page);
  const ready = await Promise.all(panels.map((one) => filled(chosen, one, range, theme)));
  const step = (width - 2 * EDGE + GAP) / COLUMNS;
  const bottom = Math.max(...panels.map(({ panel: { gridPos } }) => gridPos.y + gridPos.h)) * (CELL + GAP);
  root?.unmount();
  document.body.replaceChildren(Object.assign(document.createElement("div"), { id: "page" }));
  document.body.style.margin = 0;
  root = createRoot(document.getElementById("page"));
  const heading = h("h1", { style: { fontSize: 18, height: HEAD, margin: 0, lineHeight: `${HEAD}px` } }, page.dashboard.title);
  const grid = h("div", { style: { position: "relative", height: bottom } }, ready.map((one) => placed(one, step)));
  const style = { padding: `0 ${EDGE}px ${EDGE}px`, width, boxSizing: "border-box", background: theme.colors.background.canvas };
  root.render(h(ThemeContext.Provider, { value: theme }, h(GlobalStyles), h("div", { style }, heading, grid)));
  await document.fonts.ready;
  for (let i = 0; i < 10; i++) await frame(); // plots are drawn in the frames after their boxes have a size
  return { height: document.getElementById("page").scrollHeight, panels: measured() };
};
