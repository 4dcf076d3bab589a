// One panel: it asks, prepares, and draws in Grafana's frame; data-state says how far it is, for whoever takes the picture.
// A type that is not in the table below says so in its place: a panel that is silently missing would be a lie.

import { renderMarkdown } from '@grafana/data';
import { PanelChrome, useTheme2 } from '@grafana/ui';
import { useEffect, useState } from 'react';
import { Figure, FIGURE_DEFAULTS, Graph, GRAPH_DEFAULTS, Table, TABLE_DEFAULTS } from './charts';
import { prepare } from './fields';
import { HeatMap } from './heatmap';
import { ask } from './prometheus';
import { replace } from './variables';

const TYPES = {
  timeseries: { Draw: Graph, defaults: GRAPH_DEFAULTS },
  stat: { Draw: Figure, defaults: FIGURE_DEFAULTS },
  table: { Draw: Table, defaults: TABLE_DEFAULTS },
  heatmap: { Draw: HeatMap, defaults: FIGURE_DEFAULTS },
};

/** place: left, top, width and height in pixels. */
export function Panel({ panel, variables, place }) {
  const answer = useAnswer(panel, variables, place.width);
  const title = replace(panel.title ?? '', variables);
  const style = { position: 'absolute', left: place.left, top: place.top };
  return (
    <section style={style} data-state={answer.state} data-title={title} data-message={answer.message}>
      <PanelChrome
        title={title}
        description={renderMarkdown(panel.description ?? '')}
        width={place.width}
        height={place.height}
      >
        {(width, height) => <Content panel={panel} answer={answer} width={width} height={height} />}
      </PanelChrome>
    </section>
  );
}

function useAnswer(panel, variables, width) {
  const theme = useTheme2();
  const [answer, setAnswer] = useState({ state: 'loading' });
  useEffect(() => {
    answerOf(panel, variables, width, theme)
      .then(setAnswer)
      .catch((error) => setAnswer({ state: 'error', message: error.message }));
  }, [panel, variables, width, theme]);
  return answer;
}

async function answerOf(panel, variables, width, theme) {
  const type = TYPES[panel.type];
  if (!type) {
    return { state: 'error', message: `cannot be previewed: type ${panel.type}` };
  }
  const frames = await prepare(panel, await ask(panel, width, variables), type.defaults, theme, variables);
  const hasValues = frames.some((frame) =>
    frame.fields.some((field) => field.type === 'number' && field.values.some((v) => v != null)),
  );
  return { state: hasValues ? 'drawn' : stateWithout(panel), message: wordsFor(panel), frames };
}

const NO_DATA = 'No data';
const wordsFor = (panel) => panel.fieldConfig?.defaults?.noValue ?? NO_DATA;

/** A panel may have words of its own for having nothing to show: then that is an answer, else it is a lack. */
const stateWithout = (panel) => (wordsFor(panel) === NO_DATA ? 'empty' : 'nothing');

function Content({ panel, answer, width, height }) {
  const theme = useTheme2();
  if (answer.state === 'loading') {
    return null;
  }
  if (answer.state !== 'drawn' && !(answer.state === 'nothing' && panel.type === 'stat')) {
    return <Message text={answer.message} width={width} height={height} />;
  }
  const { Draw } = TYPES[panel.type];
  const { fieldConfig, options = {} } = panel;
  return (
    <Draw frames={answer.frames} fieldConfig={fieldConfig} options={options} theme={theme} width={width} height={height} />
  );
}

function Message({ text, width, height }) {
  return <div style={{ width, height, display: 'grid', placeContent: 'center', textAlign: 'center' }}>{text}</div>;
}
