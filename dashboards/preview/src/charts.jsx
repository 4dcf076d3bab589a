// The panels that Grafana's component library draws as they are: graph, figure and table.
// Each takes frames with their display, the panel's options and a size; `defaults` is what Grafana's plugin would fill in.

import {
  applyNullInsertThreshold,
  getDisplayValueAlignmentFactors,
  getFieldDisplayValues,
  VizOrientation,
} from '@grafana/data';
import { BigValue, TimeSeries, VizRepeater } from '@grafana/ui';
import { TableNG } from '@grafana/ui/unstable';
import { useMemo } from 'react';
import { settings } from './settings';

export const GRAPH_DEFAULTS = {
  color: { mode: 'palette-classic' },
  custom: {
    axisBorderShow: false,
    axisGridShow: true,
    drawStyle: 'line',
    fillOpacity: 0,
    gradientMode: 'none',
    lineInterpolation: 'linear',
    lineWidth: 1,
    pointSize: 5,
    showPoints: 'auto',
    spanNulls: false,
  },
};

const LEGEND = { displayMode: 'list', placement: 'bottom', calcs: [], showLegend: true };

/** Lines over time, with their legend. */
export function Graph({ frames, options, width, height }) {
  const legend = { ...LEGEND, ...options.legend };
  const gapped = useMemo(() => frames.map(gapsOf), [frames]);
  return <TimeSeries frames={gapped} timeRange={settings.range} timeZone="utc" legend={legend} width={width} height={height} />;
}

/** A missing point breaks a line. The component sees to that for the first of its frames alone. */
function gapsOf(frame) {
  return applyNullInsertThreshold({ frame, refFieldPseudoMin: settings.from, refFieldPseudoMax: settings.to });
}

export const FIGURE_DEFAULTS = { color: { mode: 'thresholds' }, custom: {} };

/** One number for each series, over its course. */
export function Figure({ frames, fieldConfig, options, theme, width, height }) {
  const { graphMode = 'area', colorMode = 'value', justifyMode = 'auto', textMode = 'auto' } = options;
  const reduceOptions = { calcs: ['lastNotNull'], values: false, ...options.reduceOptions };
  const replaceVariables = (text) => text;
  const values = getFieldDisplayValues({
    fieldConfig,
    reduceOptions,
    replaceVariables,
    theme,
    data: frames,
    sparkline: graphMode !== 'none',
  });
  const look = { graphMode, colorMode, justifyMode, textMode, theme };
  return (
    <VizRepeater
      getValues={() => values}
      getAlignmentFactors={(shown) => getDisplayValueAlignmentFactors(shown)}
      renderValue={({ value, alignmentFactors, ...place }) => (
        <BigValue {...look} {...place} value={value.display} sparkline={value.sparkline} alignmentFactors={alignmentFactors} />
      )}
      source={frames}
      renderCounter={0}
      orientation={options.orientation ?? VizOrientation.Auto}
      autoGrid
      width={width}
      height={height}
    />
  );
}

export const TABLE_DEFAULTS = {
  color: { mode: 'thresholds' },
  custom: { align: 'auto', cellOptions: { type: 'auto' }, footer: { reducers: [] }, inspect: false },
};

/** The rows of one frame: transformations have made one of several. */
export function Table({ frames, fieldConfig, options, width, height }) {
  const { cellHeight = 'sm', showHeader = true, sortBy = [] } = options;
  const look = { cellHeight, sortBy, noHeader: !showHeader, fieldConfig, timeRange: settings.range };
  return <TableNG data={frames[0]} width={width} height={height} resizable={false} structureRev={1} {...look} />;
}
