// One face for three browsers, so that each scenario is written once.

import { openWithPuppeteer } from "./puppeteer.mjs";
import { openWebKit } from "./webkit.mjs";

/** The browsers to test: all that the command line asked for. */
export const BROWSERS = (process.env.LOCKSTEP_E2E_BROWSERS ?? "chromium,firefox,webkit").split(",");

/**
 * Opens a browser with a fresh profile.
 *
 * `newTab` gives a tab with `goto(url)`, `reload()`, `evaluate(function, ...args)` (which waits for a promise of the
 * page), `click(selector)`, `activate()`, `screenshot(path)`, `said()`, `requested()` and `close()`.
 *
 * @param {string} name chromium, firefox or webkit
 * @returns {Promise<{newTab: () => Promise<object>, close: () => Promise<void>}>}
 */
export function openBrowser(name) {
  switch (name) {
    case "chromium":
    case "firefox":
      return openWithPuppeteer(name);
    case "webkit":
      return openWebKit();
    default:
      throw new Error(`LOCKSTEP_E2E_BROWSERS names ${name}; there are chromium, firefox and webkit`);
  }
}
