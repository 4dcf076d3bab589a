// A heat map of buckets. @grafana/ui has no such component (Grafana's own is a plugin), so that only axes, scales and canvas
// are Grafana's here; the cells are ours: a row a bucket, whose upper bound stands at its upper edge, as in Grafana.

import { AxisPlacement, ScaleDirection, ScaleOrientation } from '@grafana/schema';
import { formattedValueToString, getValueFormat } from '@grafana/data';
import { UPlotChart, UPlotConfigBuilder } from '@grafana/ui';
import * as chromatic from 'd3-scale-chromatic';
import { useMemo } from 'react';
import { settings } from './settings';

const LEGEND_HEIGHT = 24;

const shown = (value, unit, decimals) => formattedValueToString(getValueFormat(unit)(value, decimals));

/** Cells over time; the darkest in a dark theme are those with the least. */
export function HeatMap({ frames, options, theme, width, height }) {
  const cells = useMemo(() => cellsOf(frames[0], options, theme), [frames, options, theme]);
  const config = useMemo(() => plotOf(cells, options, theme), [cells, options, theme]);
  const data = [cells.times, cells.times.map(() => null)];
  return (
    <>
      <UPlotChart config={config} data={data} width={width} height={height - LEGEND_HEIGHT} />
      <Scale cells={cells} unit={options.cellValues?.unit} theme={theme} width={width} />
    </>
  );
}

function cellsOf(frame, options, theme) {
  const [time, ...buckets] = frame.fields;
  const least = options.filterValues?.le ?? 0;
  const most = Math.max(...buckets.flatMap((bucket) => bucket.values.filter(Number.isFinite)));
  const interpolate = chromatic[`interpolate${options.color?.scheme ?? 'Oranges'}`];
  const color = (value) => interpolate(theme.isDark ? 1 - value / most : value / most);
  return { times: time.values, buckets, least, most, color };
}

function plotOf(cells, options, theme) {
  const builder = new UPlotConfigBuilder('utc');
  const bounds = cells.buckets.map((bucket) => Number(bucket.name.replace('+Inf', 'Infinity')));
  const name = (edge) =>
    Number.isFinite(bounds[edge - 1]) ? shown(bounds[edge - 1], options.yAxis?.unit, options.yAxis?.decimals) : '+Inf';
  const edges = bounds.map((_, i) => i + 1);
  builder.addScale({
    scaleKey: 'x',
    isTime: true,
    orientation: ScaleOrientation.Horizontal,
    direction: ScaleDirection.Right,
    range: () => [settings.from, settings.to],
  });
  builder.addAxis({ scaleKey: 'x', isTime: true, placement: AxisPlacement.Bottom, timeZone: 'utc', theme });
  builder.addScale({
    scaleKey: 'y',
    orientation: ScaleOrientation.Vertical,
    direction: ScaleDirection.Up,
    range: () => [0, bounds.length],
  });
  builder.addAxis({
    scaleKey: 'y',
    placement: AxisPlacement.Left,
    theme,
    splits: () => everySo(edges),
    values: (_, splits) => splits.map(name),
    grid: { show: false },
  });
  builder.addSeries({ scaleKey: 'y', theme, pathBuilder: () => null, pointsBuilder: () => null, lineColor: 'transparent' });
  builder.addHook('draw', (plot) => drawCells(plot, cells, options.cellGap ?? 1));
  return builder;
}

/** As many of the edges as an axis has room for. */
function everySo(edges) {
  const stride = Math.ceil(edges.length / 10);
  return edges.filter((edge) => (edges.length - edge) % stride === 0);
}

function drawCells(plot, { times, buckets, least, color }, gap) {
  const step = times.length > 1 ? Math.min(...times.slice(1).map((time, i) => time - times[i])) : settings.scrapeMilliseconds;
  const x = (time) => Math.round(plot.valToPos(time, 'x', true));
  const y = (edge) => Math.round(plot.valToPos(edge, 'y', true));
  plot.ctx.save();
  plot.ctx.beginPath();
  plot.ctx.rect(plot.bbox.left, plot.bbox.top, plot.bbox.width, plot.bbox.height);
  plot.ctx.clip();
  buckets.forEach((bucket, row) =>
    bucket.values.forEach((value, i) => {
      if (value > least) {
        plot.ctx.fillStyle = color(value);
        plot.ctx.fillRect(x(times[i] - step), y(row + 1), x(times[i]) - x(times[i] - step) - gap, y(row) - y(row + 1) - gap);
      }
    }),
  );
  plot.ctx.restore();
}

/** What the colours mean, under the plot. */
function Scale({ cells, unit, theme, width }) {
  const stops = Array.from({ length: 11 }, (_, i) => cells.color((cells.most * i) / 10)).join(', ');
  const style = {
    display: 'flex',
    gap: 8,
    alignItems: 'center',
    height: LEGEND_HEIGHT,
    fontSize: 12,
    color: theme.colors.text.secondary,
  };
  return (
    <div style={style}>
      {shown(0, unit)}
      <div style={{ width: Math.min(width / 2, 240), height: 8, background: `linear-gradient(90deg, ${stops})` }} />
      {shown(cells.most, unit)}
    </div>
  );
}
