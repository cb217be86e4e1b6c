// Scenarios: written once, run in each browser, with a picture of the page when one fails.

import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { BROWSERS, openBrowser } from "./browser.mjs";

/** Longest that one scenario may take: the slowest engine on the slowest machine. */
const PATIENCE = 600_000;

/**
 * Runs the scenarios in each browser, each in a tab of its own; those of one browser share a profile.
 * @param {string} title what they have in common
 * @param {(scenario: (title: string, run: (tab: object, browser: object) => Promise<void>) => void, name: string) => void} define
 */
export function inEachBrowser(title, define) {
  for (const name of BROWSERS) {
    describe(`${name}: ${title}`, () => {
      let browser;
      before(async () => (browser = await openBrowser(name)), { timeout: PATIENCE });
      after(() => browser?.close(), { timeout: PATIENCE });
      define((what, run) => test(what, { timeout: PATIENCE }, () => inTab(name, what, browser, run)), name);
    });
  }
}

async function inTab(name, what, browser, run) {
  const tab = await browser.newTab();
  try {
    await run(tab, browser);
  } catch (error) {
    error.message += `\n${await evidence(tab, `${name} ${what}`)}`;
    throw error;
  } finally {
    await tab.close();
  }
}

/** Where the picture of the page is, and what page and console say. */
async function evidence(tab, what) {
  try {
    const picture = join(await mkdtemp(join(tmpdir(), "lockstep-e2e-")), `${what.replace(/[^a-z0-9]+/gi, "-")}.png`);
    const text = await tab.evaluate(() => document.body.innerText);
    await tab.screenshot(picture);
    return `The page: ${picture}\n${text.slice(0, 2000)}\nThe console:\n${tab.said()}`;
  } catch (error) {
    return `(no picture of the page: ${error.message})`;
  }
}
