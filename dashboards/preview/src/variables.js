// Values for a dashboard's variables, and the texts in which they stand: $name, ${name} and ${name:format}.
// Whatever the address does not choose is what Grafana chooses on first sight, and "All" is every value there is.

import { rangeUtil } from '@grafana/data';
import { settings } from './settings';

const PATTERN = /\$\{(\w+)(?::\w+)?\}|\$(\w+)/g;

const ALL = { text: 'All', value: '.+' };

/** The variables of a dashboard by name, each with a text for people and a value for queries. */
export function variablesOf(dashboard) {
  return Object.fromEntries((dashboard.templating?.list ?? []).map((variable) => [variable.name, valueOf(variable)]));
}

function valueOf(variable) {
  const chosen = settings.chosen[variable.name];
  if (chosen) {
    return { text: chosen, value: chosen };
  }
  if (variable.type === 'datasource') {
    return { text: 'Prometheus', value: 'prometheus' };
  }
  const current = variable.current?.value;
  const all = variable.includeAll && (!current || [current].flat().includes('$__all'));
  if (all || !current?.length) {
    return variable.allValue ? { ...ALL, value: variable.allValue } : ALL;
  }
  return { text: String(variable.current.text), value: [current].flat().join('|') };
}

/** What Grafana fills in by itself, for a query with so many milliseconds between its points. */
export function builtIn(interval) {
  const range = settings.to - settings.from;
  const texts = {
    __interval: rangeUtil.secondsToHms(interval / 1000),
    __interval_ms: interval,
    __range: `${range / 1000}s`,
    __range_s: range / 1000,
    __range_ms: range,
    __rate_interval: `${Math.max(interval + settings.scrapeMilliseconds, 4 * settings.scrapeMilliseconds) / 1000}s`,
  };
  return Object.fromEntries(Object.entries(texts).map(([name, value]) => [name, { value }]));
}

/** The text with values in it; what has no value stays as it stands, as in Grafana. */
export function replace(text, variables) {
  return text.replace(PATTERN, (match, braced, plain) => variables[braced ?? plain]?.value ?? match);
}
