// A dashboard's page: its head with the variables and the time, its rows, and its panels on Grafana's grid of 24 columns.
// Rows are drawn open, whether Grafana shows them so at first or not: a preview that hides panels previews little.

import { dateTimeFormat } from '@grafana/data';
import { Icon, LinkButton, Stack, Text, useTheme2 } from '@grafana/ui';
import { Panel } from './panel';
import { settings } from './settings';
import { replace } from './variables';

const COLUMNS = 24;
const ROW_HEIGHT = 30;
const GAP = 8;
const PADDING = 16;

/** The whole page of a dashboard, as high as its panels need. */
export function Dashboard({ dashboard, variables }) {
  const panels = opened(dashboard.panels);
  const bottom = Math.max(...panels.map(({ gridPos }) => gridPos.y + gridPos.h));
  return (
    <main style={{ padding: PADDING }}>
      <Head dashboard={dashboard} variables={variables} />
      <div style={{ position: 'relative', height: bottom * (ROW_HEIGHT + GAP) }}>
        {panels.map((panel) =>
          panel.type === 'row' ? (
            <Row key={panel.id} title={replace(panel.title, variables)} place={placeOf(panel.gridPos)} />
          ) : (
            <Panel key={panel.id} panel={panel} variables={variables} place={placeOf(panel.gridPos)} />
          ),
        )}
      </div>
    </main>
  );
}

/** The panels, with those of closed rows at their places and everything below them further down. */
function opened(panels) {
  let down = 0;
  return panels.flatMap((panel) => {
    const lower = (one) => ({ ...one, gridPos: { ...one.gridPos, y: one.gridPos.y + down } });
    const all = [panel, ...(panel.panels ?? [])].map(lower);
    const height = Math.max(0, ...(panel.panels ?? []).map(({ gridPos }) => gridPos.y + gridPos.h - panel.gridPos.y - 1));
    down += height;
    return all;
  });
}

function placeOf({ x, y, w, h }) {
  const column = (window.innerWidth - 2 * PADDING + GAP) / COLUMNS;
  return { left: x * column, top: y * (ROW_HEIGHT + GAP), width: w * column - GAP, height: h * (ROW_HEIGHT + GAP) - GAP };
}

function Row({ title, place }) {
  return (
    <div style={{ position: 'absolute', ...place, display: 'flex', alignItems: 'center', gap: GAP }}>
      <Icon name="angle-down" />
      <Text variant="h5">{title}</Text>
    </div>
  );
}

function Head({ dashboard, variables }) {
  const shown = dashboard.templating?.list.filter((variable) => !['hideVariable', 2].includes(variable.hide)) ?? [];
  const time = (ms) => dateTimeFormat(ms, { timeZone: 'utc', format: 'YYYY-MM-DD HH:mm:ss' });
  return (
    <Stack justifyContent="space-between" alignItems="center" wrap="wrap">
      <Stack alignItems="center" gap={2}>
        <Text variant="h3">{dashboard.title}</Text>
        {shown.map(({ name, label }) => (
          <Choice key={name} label={label || name} value={variables[name].text} />
        ))}
      </Stack>
      <Stack alignItems="center">
        {(dashboard.links ?? []).map((link) => (
          <LinkButton key={link.title} variant="secondary" size="sm" icon="external-link-alt" href="#">
            {link.title}
          </LinkButton>
        ))}
        <Choice label="UTC" value={`${time(settings.from)} to ${time(settings.to)}`} />
      </Stack>
      <Note />
    </Stack>
  );
}

function Choice({ label, value }) {
  const { colors, shape } = useTheme2();
  const box = { border: `1px solid ${colors.border.medium}`, borderRadius: shape.radius.default, padding: '3px 8px' };
  return (
    <span style={{ fontSize: 12 }}>
      <span style={{ ...box, background: colors.background.secondary, borderRight: 0 }}>{label}</span>
      <span style={box}>{value}</span>
    </span>
  );
}

function Note() {
  return (
    <div style={{ width: '100%', marginBottom: GAP }}>
      <Text variant="bodySmall" color="secondary">
        {`Drawn by Grafana's panel components (@grafana/ui ${VERSION}) from a real Prometheus; not a screenshot of Grafana.`}
      </Text>
    </div>
  );
}
