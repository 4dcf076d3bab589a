// Applies a panel's transformations, its field configuration and its overrides, all by Grafana's own code.
// That code asks a registry which properties there are; Grafana fills it from its panel plugins, which are no packages.

import {
  applyFieldOverrides,
  cacheFieldDisplayNames,
  FieldConfigOptionsRegistry,
  standardTransformers,
  standardTransformersRegistry,
  transformDataFrame,
} from '@grafana/data';
import { firstValueFrom } from 'rxjs';
import { replace } from './variables';

// One of them is exported under two names.
standardTransformersRegistry.setInit(() =>
  [...new Map(Object.values(standardTransformers).map((one) => [one.id, one])).values()].map((one) => ({
    id: one.id,
    name: one.name,
    transformation: () => one,
  })),
);

/** The frames as the panel shows them. defaults: what Grafana's plugin of this type fills in. */
export async function prepare(panel, frames, defaults, theme, variables) {
  const fieldConfig = configOf(panel, defaults);
  const replaceVariables = (text) => replace(text, variables);
  const transformed = await firstValueFrom(
    transformDataFrame(panel.transformations ?? [], frames, { interpolate: replaceVariables }),
  );
  const fieldConfigRegistry = registryOf(fieldConfig);
  const data = applyFieldOverrides({
    data: transformed,
    fieldConfig,
    replaceVariables,
    theme,
    fieldConfigRegistry,
    timeZone: 'utc',
  });
  cacheFieldDisplayNames(data);
  return data;
}

function configOf(panel, defaults) {
  const { defaults: own = {}, overrides = [] } = panel.fieldConfig ?? {};
  const merged = { ...defaults, ...own, custom: { ...defaults.custom, ...own.custom } };
  const property = ({ id, value }) => ({ id, value: id === 'thresholds' ? thresholdsOf(value) : value });
  return {
    defaults: { ...merged, thresholds: thresholdsOf(merged.thresholds ?? THRESHOLDS) },
    overrides: overrides.map((rule) => ({ ...rule, properties: rule.properties.map(property) })),
  };
}

const THRESHOLDS = {
  mode: 'absolute',
  steps: [
    { value: null, color: 'green' },
    { value: 80, color: 'red' },
  ],
};

/** JSON has no infinity: the first step's value is null in files. */
function thresholdsOf({ mode, steps }) {
  return { mode, steps: steps.map((step) => ({ ...step, value: step.value ?? -Infinity })) };
}

/** Every property that the configuration sets, and no other: none of them is passed over because it is unknown here. */
function registryOf({ defaults, overrides }) {
  const { custom, ...standard } = defaults;
  const ids = [...Object.keys(standard), ...Object.keys(custom).map((name) => `custom.${name}`)];
  const overridden = overrides.flatMap((rule) => rule.properties.map((property) => property.id));
  return new FieldConfigOptionsRegistry(() => [...new Set([...ids, ...overridden])].map(property));
}

function property(id) {
  const isCustom = id.startsWith('custom.');
  return {
    id,
    name: id,
    isCustom,
    path: isCustom ? id.slice('custom.'.length) : id,
    process: (value) => value,
    shouldApply: () => true,
  };
}
