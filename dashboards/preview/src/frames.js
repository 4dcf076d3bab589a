// Turns an answer of Prometheus into data frames: a frame a series, a row a series (table), or a column a bucket (heat map).
// Field names are those that Grafana's data source gives, since transformations and overrides refer to them.

import { FieldType } from '@grafana/data';

/**
 * result: what the API calls so. interval: milliseconds between points, of which a longer distance is a gap. count: how many
 * queries the panel has, which decides how a table's values are called.
 */
export function framesOf(result, target, interval, count) {
  if (target.format === 'table') {
    return [tableOf(result, target, count)];
  }
  if (target.format === 'heatmap') {
    return result.length ? [bucketsOf(result, target, interval)] : [];
  }
  return result.map((series) => seriesOf(series, target, interval));
}

const timeField = (values, interval) => ({ name: 'Time', type: FieldType.time, config: { interval }, values });
const numberField = (name, values, rest = {}) => ({ name, type: FieldType.number, config: {}, values, ...rest });
const frame = (fields, refId) => ({ refId, fields, length: fields[0].values.length });

/** An instant's answer has one point a series, `value`; a range's has many, `values`. */
const pointsOf = (series) => series.values ?? [series.value];
const numberOf = ([, text]) => (text === 'NaN' ? null : Number(text.replace('Inf', 'Infinity')));

function seriesOf(series, target, interval) {
  const points = pointsOf(series);
  const displayNameFromDS = legendOf(series.metric, target.legendFormat);
  const value = numberField('Value', points.map(numberOf), { labels: series.metric, config: { displayNameFromDS } });
  return frame(
    [
      timeField(
        points.map(([time]) => time * 1000),
        interval,
      ),
      value,
    ],
    target.refId,
  );
}

function legendOf(labels, template) {
  if (!template || template === '__auto') {
    return undefined;
  }
  return template.replace(/\{\{\s*(.+?)\s*\}\}/g, (_, name) => labels[name] ?? '');
}

function tableOf(result, target, count) {
  const labels = [...new Set(result.flatMap((series) => Object.keys(series.metric)))].sort();
  const columns = labels.map((name) => ({
    name,
    type: FieldType.string,
    config: { filterable: true },
    values: result.map((series) => series.metric[name] ?? ''),
  }));
  const last = result.map((series) => pointsOf(series).at(-1));
  const name = count > 1 ? `Value #${target.refId}` : 'Value';
  return frame([timeField(last.map(([time]) => time * 1000)), ...columns, numberField(name, last.map(numberOf))], target.refId);
}

/** Prometheus's buckets hold those below them as well; a heat map's do not. */
function bucketsOf(result, target, interval) {
  const rows = result.map((series) => ({
    le: series.metric.le,
    at: new Map(series.values.map((point) => [point[0], numberOf(point)])),
  }));
  rows.sort((a, b) => numberOf([0, a.le]) - numberOf([0, b.le]));
  const times = [...new Set(rows.flatMap((row) => [...row.at.keys()]))].sort((a, b) => a - b);
  const own = (row, i, time) => row.at.get(time) - (i ? (rows[i - 1].at.get(time) ?? 0) : 0);
  const columns = rows.map((row, i) =>
    numberField(
      row.le,
      times.map((time) => own(row, i, time)),
    ),
  );
  return frame(
    [
      timeField(
        times.map((time) => time * 1000),
        interval,
      ),
      ...columns,
    ],
    target.refId,
  );
}
