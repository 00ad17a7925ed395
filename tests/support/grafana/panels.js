// A panel's frames as Grafana's own packages make them of what the data source gives: transformations, field overrides,
// units, colours, links and variables.
import * as grafana from "@grafana/data";
import {
  applyFieldOverrides,
  cacheFieldDisplayNames,
  createDataFrame,
  createTheme,
  dataLinksOverrideProcessor,
  dateTime,
  displayNameOverrideProcessor,
  identityOverrideProcessor,
  numberOverrideProcessor,
  standardFieldConfigEditorRegistry,
  standardTransformers,
  standardTransformersRegistry,
  stringOverrideProcessor,
  thresholdsOverrideProcessor,
  transformDataFrame,
  valueMappingsOverrideProcessor,
} from "@grafana/data";
import { ConstantVariable, CustomVariable, EmbeddedScene, SceneFlexLayout, SceneTimeRange, SceneVariableSet, sceneGraph } from "@grafana/scenes";
import { firstValueFrom } from "rxjs";

// The options that overrides may set, as Grafana's own registry names them
const PROCESSORS = {
  displayName: displayNameOverrideProcessor,
  unit: stringOverrideProcessor,
  noValue: stringOverrideProcessor,
  min: numberOverrideProcessor,
  max: numberOverrideProcessor,
  decimals: numberOverrideProcessor,
  thresholds: thresholdsOverrideProcessor,
  mappings: valueMappingsOverrideProcessor,
  color: identityOverrideProcessor,
  links: dataLinksOverrideProcessor,
};
// Those of the kinds of panel that our boards use
const CUSTOM = [
  "align", "axisBorderShow", "axisCenteredZero", "axisColorMode", "axisLabel", "axisPlacement", "axisSoftMax", "axisSoftMin",
  "cellOptions", "drawStyle", "filterable", "fillOpacity", "gradientMode", "hidden", "hideFrom", "inspect", "lineInterpolation",
  "lineStyle", "lineWidth", "minWidth", "pointSize", "scaleDistribution", "showPoints", "spanNulls", "insertNulls", "stacking",
  "thresholdsStyle", "transform", "width",
];
const option = (id, path, process, isCustom) => ({
  id, path, process, isCustom, name: id, description: "", shouldApply: () => true, override: null, editor: null,
});

standardFieldConfigEditorRegistry.setInit(() => [
  ...Object.entries(PROCESSORS).map(([id, process]) => option(id, id, process, false)),
  ...CUSTOM.map((name) => option(`custom.${name}`, name, identityOverrideProcessor, true)),
]);
// Some are there under two names. 13 loads transformations when they are needed, 11 has them
const transformers = new Map(Object.values(standardTransformers).map((one) => [one.id, one]));
standardTransformersRegistry.setInit(() => [...transformers.values()].map((one) => ({
  id: one.id, name: one.name, transformation: GRAFANA >= 13 ? () => Promise.resolve(one) : one, editor: null,
})));

grafana.patchArrayVectorProrotypeMethods?.(); // 11's packages still call values.get(row)
export const themes = { dark: createTheme(), light: createTheme({ colors: { mode: "light" } }) };

export function timeRange({ from, to }) {
  const [first, last] = [dateTime(Number(from)), dateTime(Number(to))];
  return { from: first, to: last, raw: { from: first, to: last } };
}

// The dashboard's variables with what is chosen in them: a text, several, or "$__all"
export function scene({ dashboard, chosen, range }) {
  const variables = dashboard.templating.list.map((variable) => {
    const value = chosen[variable.name] ?? (variable.includeAll ? "$__all" : "");
    if (variable.type !== "query") return new ConstantVariable({ name: variable.name, value: chosen[variable.name] ?? "" });
    return new CustomVariable({
      name: variable.name,
      isMulti: variable.multi,
      includeAll: variable.includeAll,
      allValue: variable.allValue,
      value,
      text: value === "$__all" ? "All" : value,
    });
  });
  return new EmbeddedScene({
    $timeRange: new SceneTimeRange(range),
    $variables: new SceneVariableSet({ variables }),
    body: new SceneFlexLayout({ children: [] }),
  });
}

// The frames that a panel draws, and how its texts are interpolated
export async function prepared(page, panel, frames, theme = themes.dark) {
  const replaceVariables = (text, scoped, format) => sceneGraph.interpolate(page, text, scoped, format);
  const context = { interpolate: replaceVariables };
  const fieldConfig = panel.fieldConfig;
  const data = applyFieldOverrides({
    data: await firstValueFrom(transformDataFrame(panel.transformations ?? [], frames.map(createDataFrame), context)),
    fieldConfig, fieldConfigRegistry: standardFieldConfigEditorRegistry, replaceVariables, theme, timeZone: "utc",
  });
  cacheFieldDisplayNames(data); // tables of 13 read the names there
  return { data, replaceVariables };
}
