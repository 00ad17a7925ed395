// What a panel of a dashboard shows: ../grafanacode.py calls `displays`, `menu` and `intervals`.
import {
  FieldType,
  formattedValueToString,
  getDisplayProcessor,
  getFieldDisplayName,
  getFieldDisplayValues,
  getFieldSeriesColor,
  rangeUtil,
} from "@grafana/data";
import { sceneGraph } from "@grafana/scenes";
import { prepared, scene, themes, timeRange } from "./panels.js";

const theme = themes.dark;

const shown = (field, value) => {
  const display = (field.display ?? getDisplayProcessor({ field, theme }))(value);
  return { text: formattedValueToString(display), colour: display.color ?? "" };
};

const cell = (field, row) => ({
  ...shown(field, field.values[row]),
  links: field.getLinks ? field.getLinks({ valueRowIndex: row }).map((link) => link.href) : [],
});

async function display(chosen, { panel, frames }) {
  const { data, replaceVariables } = await prepared(chosen, panel, frames);
  if (panel.type === "stat") {
    const values = getFieldDisplayValues({
      fieldConfig: panel.fieldConfig, reduceOptions: panel.options.reduceOptions, replaceVariables, theme, data, timeZone: "utc",
    });
    return values.map(({ display }) => ({ name: display.title ?? "", text: formattedValueToString(display), colour: display.color }));
  }
  if (panel.type === "table") {
    return data.map((frame) => ({
      columns: frame.fields.map((field) => ({ name: getFieldDisplayName(field, frame, data), width: field.config.custom?.width })),
      rows: Array.from({ length: frame.length }, (_, row) => frame.fields.map((field) => cell(field, row))),
    }));
  }
  return data.flatMap((frame) => frame.fields.filter((field) => field.type === FieldType.number).map((field) => ({
    name: getFieldDisplayName(field, frame, data),
    colour: getFieldSeriesColor(field, theme).color,
    points: field.values.map((value, i) => [frame.fields.find((one) => one.type === FieldType.time).values[i], value]),
    below: field.config.custom?.transform === "negative-Y",
  })));
}

window.displays = async ({ panels, ...page }) => {
  const found = [];
  for (const panel of panels) found.push(await display(scene(page), panel));
  return found;
};

// The menu adds the time range to the links that keep it
const timed = (url, { keepTime }, { range }) => (keepTime ? `${url}&from=${range.from}&to=${range.to}` : url);

window.menu = (page) => {
  const chosen = scene(page);
  return page.dashboard.links.map((link) => ({ title: link.title, url: timed(sceneGraph.interpolate(chosen, link.url), link, page) }));
};

// The width of a time bucket of each panel, ms. The scenes of 11.0 leave variables in a panel's least interval as they are
window.intervals = ({ panels, ...page }) => {
  const chosen = scene(page);
  return panels.map(({ interval, maxDataPoints }) => {
    const least = GRAFANA >= 13 ? sceneGraph.interpolate(chosen, interval) : interval;
    return rangeUtil.calculateInterval(timeRange(page.range), maxDataPoints, least).intervalMs;
  });
};
