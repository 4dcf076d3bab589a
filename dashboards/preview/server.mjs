// Bundles the page and serves it on loopback, with the fonts and icons where Grafana's components look for them.
// Only files under the listed places are served; the dashboards come from the directory above.

import { build } from 'esbuild';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { createServer } from 'node:http';
import path from 'node:path';

const HERE = import.meta.dirname;
const MODULES = path.join(HERE, 'node_modules');
const FONTS = path.join(MODULES, '@fontsource/inter/files');

const TYPES = {
  '.html': 'text/html',
  '.js': 'text/javascript',
  '.css': 'text/css',
  '.svg': 'image/svg+xml',
  '.json': 'application/json',
};

const PAGE = `<!doctype html><meta charset="utf-8"><title>preview</title>
<link rel="icon" href="data:,"><link rel="stylesheet" href="/main.css"><body style="margin: 0"><div id="root"></div>
<script>window.__grafana_public_path__ = '/public/';</script><script type="module" src="/main.js"></script>`;

/** Where a path is on disk, undefined for one that is nowhere. dashboards: a directory. */
function placeOf(url, dashboards) {
  const places = {
    '/public/build/img/': path.join(MODULES, '@grafana/ui/dist/public/img'),
    '/dashboards/': dashboards,
  };
  const fonts = {
    '/public/fonts/inter/Inter-Regular.woff2': path.join(FONTS, 'inter-latin-400-normal.woff2'),
    '/public/fonts/inter/Inter-Medium.woff2': path.join(FONTS, 'inter-latin-500-normal.woff2'),
  };
  const prefix = Object.keys(places).find((start) => url.startsWith(start));
  return fonts[url] ?? (prefix && path.join(places[prefix], path.normalize(`/${url.slice(prefix.length)}`)));
}

/** A server on a free port of 127.0.0.1, once it listens. */
export async function serve(dashboards) {
  const made = await bundle();
  const server = createServer(async (request, response) => {
    const url = new URL(request.url, 'http://localhost').pathname;
    const place = placeOf(url, dashboards);
    const body = made[url] ?? (place && (await readFile(place).catch(() => null)));
    response.writeHead(body ? 200 : 404, { 'Content-Type': TYPES[path.extname(url)] ?? 'text/html' });
    response.end(body ?? `${url}: not here`);
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return server;
}

async function bundle() {
  const { version } = createRequire(import.meta.url)('@grafana/ui/package.json');
  const { outputFiles } = await build({
    entryPoints: [path.join(HERE, 'src/main.jsx')],
    bundle: true,
    format: 'esm',
    jsx: 'automatic',
    loader: { '.svg': 'dataurl', '.png': 'dataurl', '.ttf': 'empty' },
    define: { VERSION: JSON.stringify(version), 'process.env.NODE_ENV': '"production"', global: 'globalThis' },
    outfile: 'main.js',
    write: false,
    logLevel: 'warning',
  });
  const files = outputFiles.map((file) => [`/${path.basename(file.path)}`, file.contents]);
  return { '/': PAGE, ...Object.fromEntries(files) };
}
