/** Debian's Chromium with a profile of its own, and what is looked at on every page: accessibility, width, pictures. */
import assert from 'node:assert/strict';
import { mkdir, readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';

const CHROMIUM = process.env.CHROMIUM_BIN ?? '/usr/bin/chromium';
const ARGUMENTS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];
const PICTURES = fileURLToPath(new URL('../../../docs/evidence/pages/', import.meta.url));
const AXE = await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const WIDTHS = [
  [360, 740],
  [1280, 800],
];
/** The narrowest and the widest screens that pages are made for. */
const EDGES = [320, 1920];
/** What the pictures in the documentation show. */
const PICTURED = ['setup', 'sign-in', 'continue', 'consent', 'cli-code'];
const DEADLINE_MS = 15_000;

/** One Chromium for a test file, ended with it. Its profile is a new folder that the driver removes. */
export async function startChromium(later) {
  const browser = await chromium.launch({ executablePath: CHROMIUM, args: ARGUMENTS });
  later(() => browser.close());
  return browser;
}

/** A browser of somebody who has never been here. */
export async function newPerson(browser, { origin, javaScriptEnabled = true } = {}) {
  const context = await browser.newContext({ baseURL: origin, javaScriptEnabled });
  context.setDefaultTimeout(DEADLINE_MS);
  const page = await context.newPage();
  // A policy that refuses something of the page's own is a mistake of the page.
  const complaints = [];
  page.on('console', (message) => {
    if (/Content.Security.Policy|Refused to/i.test(message.text())) complaints.push(message.text());
  });
  page.on('pageerror', (error) => complaints.push(String(error)));
  page.complaints = complaints;
  page.twin = javaScriptEnabled ? null : await (await browser.newContext()).newPage();
  return page;
}

/** axe-core needs scripts: a page without them is looked at in a copy, whose own scripts are taken out. */
async function toInspect(page) {
  if (!page.twin) return page;
  const content = await page.content();
  await page.twin.setContent(content.replace(/<script[\s\S]*?<\/script>/g, ''));
  return page.twin;
}

/** Looks at the page as it stands in light and dark and at all widths; with `SCREENSHOTS=1` it takes pictures too. */
export async function inspect(shown, name) {
  const page = await toInspect(shown);
  for (const colorScheme of ['light', 'dark']) {
    await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
    for (const [width, height] of WIDTHS) {
      await page.setViewportSize({ width, height });
      await assertFits(page, name, width);
      if (process.env.SCREENSHOTS === '1' && PICTURED.includes(name)) await takePicture(page, `${name}-${width}-${colorScheme}`);
    }
    await assertAccessible(page, `${name} (${colorScheme})`);
  }
  for (const width of EDGES) {
    await page.setViewportSize({ width, height: 900 });
    await assertFits(page, name, width);
  }
  await page.setViewportSize({ width: 1280, height: 800 });
  assert.deepEqual(shown.complaints, [], `what the browser refused on ${name}`);
}

async function assertAccessible(page, name) {
  await page.evaluate(AXE);
  const { violations } = await page.evaluate(() => globalThis.axe.run());
  const found = violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(' | ')}`);
  assert.deepEqual(found, [], `axe-core about ${name}`);
}

async function assertFits(page, name, width) {
  const [content, room] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
  assert.ok(content <= room, `${name} is ${content} wide on a screen of ${width}`);
}

async function takePicture(page, name) {
  await mkdir(PICTURES, { recursive: true });
  await page.screenshot({ path: `${PICTURES}${name}.png`, fullPage: true, animations: 'disabled', caret: 'hide' });
}
