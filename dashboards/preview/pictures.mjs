// Takes the pictures: `npm run pictures -- --prometheus URL`, a PNG for each dashboard, of ten minutes unless told otherwise.
// It fails when a panel has an error, or nothing to show and no words of its own for that.

import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { chromium } from 'playwright-core';
import sharp from 'sharp';
import { serve } from './server.mjs';

const WIDTH = 1600;
const FLAGS = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking'];
const QUIET = ['--disable-component-update', '--disable-sync', '--hide-scrollbars', '--force-color-profile=srgb'];
const PREFIX = 'tcptrace-';

const { values: options } = parseArgs({
  options: {
    prometheus: { type: 'string', default: 'http://127.0.0.1:9090' },
    from: { type: 'string' },
    to: { type: 'string' },
    scrape: { type: 'string', default: '5' },
    dashboards: { type: 'string', default: path.join(import.meta.dirname, '..') },
    out: { type: 'string', default: path.join(import.meta.dirname, '../pictures') },
    chromium: { type: 'string', default: '/usr/bin/chromium' },
    theme: { type: 'string', default: 'dark' },
    only: { type: 'string' },
    set: { type: 'string', multiple: true, default: [] },
  },
});

const to = Number(options.to ?? Math.floor(Date.now() / 1000));
const from = Number(options.from ?? to - 600);

/** The address of a dashboard's page. */
function addressOf(server, file) {
  const asked = {
    dashboard: `/dashboards/${file}`,
    prometheus: options.prometheus,
    from: 1000 * from,
    to: 1000 * to,
    scrape: options.scrape,
    theme: options.theme,
    ...Object.fromEntries(options.set.map((text) => [`var-${text.split('=')[0]}`, text.slice(text.indexOf('=') + 1)])),
  };
  return `http://127.0.0.1:${server.address().port}/?${new URLSearchParams(asked)}`;
}

/** Draws one dashboard, waits until nothing is missing, and writes its picture; returns what is wrong with it. */
async function take(context, server, file) {
  const page = await context.newPage();
  const wrong = [];
  page.on('pageerror', (error) => wrong.push(`page: ${error.message}`));
  page.on('console', (message) => message.type() === 'error' && wrong.push(`page: ${message.text()}`));
  await page.goto(addressOf(server, file));
  await page.waitForFunction(() => document.querySelector('[data-state]') && !document.querySelector('[data-state=loading]'));
  const height = await page.evaluate(() => document.documentElement.scrollHeight);
  await page.setViewportSize({ width: WIDTH, height }); // tables draw only the rows that are in view
  await page.waitForLoadState('networkidle'); // the icons come last
  await page.evaluate(() => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve))));
  const panels = await page.$$eval('[data-state]', (all) => all.map((one) => ({ ...one.dataset })));
  await save(await page.screenshot(), `${path.basename(file, '.json').replace(PREFIX, '')}.png`);
  return [...wrong, ...wrongPanels(panels)].map((text) => `${file}: ${text}`);
}

/** The sentences about panels that lack something; those that say so in their own words are only told of. */
function wrongPanels(panels) {
  const sentence = (panel) => `${panel.title}: ${panel.state}: ${panel.message}`;
  panels.filter((panel) => panel.state === 'nothing').forEach((panel) => console.log(`  ${sentence(panel)}`));
  return panels.filter((panel) => panel.state === 'error' || panel.state === 'empty').map(sentence);
}

/** Writes a picture with few colours, which halves it and does not show. */
async function save(picture, name) {
  const fewer = sharp(picture).png({ palette: true, dither: 0, quality: 62, effort: 10, compressionLevel: 9 });
  const { size } = await fewer.toFile(path.join(options.out, name));
  console.log(`${name}: ${Math.round(size / 1000)} kB`);
}

const files = (await readdir(options.dashboards)).filter((name) => name.startsWith(PREFIX) && name.endsWith('.json'));
const profile = await mkdtemp(path.join(tmpdir(), 'preview-'));
const server = await serve(options.dashboards);
const viewport = { width: WIDTH, height: 900 };
const launch = { executablePath: options.chromium, headless: true, args: [...FLAGS, ...QUIET], viewport };
const context = await chromium.launchPersistentContext(profile, launch);
try {
  for (const file of files.filter((name) => !options.only || name.includes(options.only))) {
    for (const text of await take(context, server, file)) {
      console.error(text);
      process.exitCode = 1;
    }
  }
} finally {
  await context.close();
  server.close();
  await rm(profile, { recursive: true });
}
