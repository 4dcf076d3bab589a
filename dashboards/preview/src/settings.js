// What the page is asked to show, from its address: the dashboard, Prometheus, the time, and values of variables.
// Grafana's own names are used where it has them (from, to, var-NAME); times are milliseconds.

import { rangeUtil } from '@grafana/data';

const asked = new URLSearchParams(window.location.search);
const from = Number(asked.get('from'));
const to = Number(asked.get('to'));
const scrapeMilliseconds = 1000 * Number(asked.get('scrape'));

export const settings = {
  dashboard: asked.get('dashboard'),
  prometheus: asked.get('prometheus'),
  theme: asked.get('theme') ?? 'dark',
  range: rangeUtil.convertRawToRange({ from: new Date(from).toISOString(), to: new Date(to).toISOString() }, 'utc'),
  from,
  to,
  scrapeMilliseconds,
  chosen: Object.fromEntries(
    [...asked].filter(([name]) => name.startsWith('var-')).map(([name, value]) => [name.slice(4), value]),
  ),
};
