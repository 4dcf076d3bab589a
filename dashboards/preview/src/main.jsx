// The page's entry: fetches the dashboard that its address names, and draws it once the font is there.
// A canvas that is drawn before its font has come keeps the wrong one.

import { createTheme } from '@grafana/data';
import { GlobalStyles, PortalContainer, ThemeContext } from '@grafana/ui';
import { createRoot } from 'react-dom/client';
import { Dashboard } from './dashboard';
import { settings } from './settings';
import { variablesOf } from './variables';

const theme = createTheme({ colors: { mode: settings.theme } });
const root = createRoot(document.getElementById('root'));
const page = (content) =>
  root.render(
    <ThemeContext.Provider value={theme}>
      <GlobalStyles />
      {content}
      <PortalContainer />
    </ThemeContext.Provider>,
  );

page(null);
await Promise.all(['400', '500'].map((weight) => document.fonts.load(`${weight} 14px Inter`)));
const dashboard = await (await fetch(settings.dashboard)).json();
page(<Dashboard dashboard={dashboard} variables={variablesOf(dashboard)} />);
