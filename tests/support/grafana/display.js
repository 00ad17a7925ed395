// What a panel of a dashboard shows, computed by Grafana's own packages: transformations, field overrides, units,
// colours, links and variables. The frames are what the data source gives; ../grafanacode.py calls `display`.
import * as grafana from "@grafana/data";
import {
  FieldType,
  createDataFrame,
  createTheme,
  dataLinksOverrideProcessor,
  applyFieldOverrides,
  displayNameOverrideProcessor,
  formattedValueToString,
  getDisplayProcessor,
  getFieldDisplayName,
  getFieldDisplayValues,
  getFieldSeriesColor,
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

standardFieldConfigEditorRegistry.setInit(() =>
  Object.entries(PROCESSORS).map(([id, process]) => ({
    id, path: id, name: id, description: "", process, shouldApply: () => true, override: null, editor: null,
  })),
);
// The only one that our boards use; 13 loads transformations when they are needed, 11 has them
const organize = standardTransformers.organizeFieldsTransformer;
const transformation = GRAFANA >= 13 ? () => Promise.resolve(organize) : organize;
standardTransformersRegistry.setInit(() => [{ id: organize.id, name: organize.name, transformation, editor: null }]);

grafana.patchArrayVectorProrotypeMethods?.(); // 11's packages still call values.get(row)
const theme = createTheme();

// The dashboard's variables with what is chosen in them: a text, several, or "$__all"
function scene(dashboard, chosen, range) {
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

async function transformed(panel, frames, replace) {
  const context = { interpolate: replace };
  return firstValueFrom(transformDataFrame(panel.transformations ?? [], frames, context));
}

const shown = (field, value) => {
  const display = (field.display ?? getDisplayProcessor({ field, theme }))(value);
  return { text: formattedValueToString(display), colour: display.color ?? "" };
};

const cell = (field, row) => ({
  ...shown(field, field.values[row]),
  links: field.getLinks ? field.getLinks({ valueRowIndex: row }).map((link) => link.href) : [],
});

window.display = async ({ dashboard, panel, frames, chosen, range }) => {
  const page = scene(dashboard, chosen, range);
  const replaceVariables = (text, scoped, format) => sceneGraph.interpolate(page, text, scoped, format);
  const fieldConfig = panel.fieldConfig;
  const data = applyFieldOverrides({
    data: await transformed(panel, frames.map(createDataFrame), replaceVariables),
    fieldConfig, fieldConfigRegistry: standardFieldConfigEditorRegistry, replaceVariables, theme, timeZone: "utc",
  });
  if (panel.type === "stat") {
    const values = getFieldDisplayValues({
      fieldConfig, reduceOptions: panel.options.reduceOptions, replaceVariables, theme, data, timeZone: "utc",
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
    text: shown(field, field.values.at(-1)).text,
  })));
};

window.menu = ({ dashboard, chosen, range }) => {
  const page = scene(dashboard, chosen, range);
  return dashboard.links.map((link) => ({ title: link.title, url: sceneGraph.interpolate(page, link.url) }));
};
