// Asks Prometheus what a panel asks, and returns its answers as Grafana's data frames.
// Grafana does this in its server, in a data source that is no package; frames.js makes the same of an answer.

import { rangeUtil } from '@grafana/data';
import { framesOf } from './frames';
import { settings } from './settings';
import { builtIn, replace } from './variables';

/** The frames of all of a panel's queries, in their order. points: how many fit into its width. */
export async function ask(panel, points, variables) {
  const targets = (panel.targets ?? []).filter((target) => !target.hide);
  const frames = await Promise.all(targets.map((target) => framesFor(target, targets.length, panel, points, variables)));
  return frames.flat();
}

async function framesFor(target, count, panel, points, variables) {
  const interval = intervalOf(target, panel, points);
  return framesOf(await answer(target, interval, variables), target, interval, count);
}

function answer(target, interval, variables) {
  const query = replace(target.expr, { ...variables, ...builtIn(interval) });
  if (target.instant && !target.range) {
    return get('query', { query, time: settings.to / 1000 });
  }
  const aligned = (time) => (Math.floor(time / interval) * interval) / 1000;
  return get('query_range', { query, start: aligned(settings.from), end: aligned(settings.to), step: interval / 1000 });
}

function intervalOf(target, panel, points) {
  const least = target.interval || panel.interval || `${settings.scrapeMilliseconds / 1000}s`;
  const { intervalMs } = rangeUtil.calculateInterval(settings.range, panel.maxDataPoints ?? points, least);
  return intervalMs;
}

async function get(path, parameters) {
  const response = await fetch(`${settings.prometheus}/api/v1/${path}?${new URLSearchParams(parameters)}`);
  const { status, data, error } = await response.json();
  if (status !== 'success') {
    throw new Error(`${error} in: ${parameters.query}`);
  }
  return data.result;
}
