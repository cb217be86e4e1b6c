// Chromium and Firefox, driven by puppeteer-core.

import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import puppeteer from "puppeteer-core";

const PROGRAMS = { chromium: ["chromium", "chromium-browser", "google-chrome"], firefox: ["firefox-esr", "firefox"] };

const CHROMIUM_FLAGS = [
  "--disable-gpu",
  "--disable-quic",
  "--disable-dev-shm-usage",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  // Chromium's sandbox refuses to run as root.
  ...(process.getuid?.() === 0 ? ["--no-sandbox"] : []),
  // Memory is measured when asked for, not at some later time.
  "--enable-blink-features=ForceEagerMeasureMemory",
];

export async function openWithPuppeteer(name) {
  const profile = await mkdtemp(join(tmpdir(), `lockstep-${name}-`));
  const browser = await puppeteer.launch({
    browser: name === "firefox" ? "firefox" : "chrome",
    executablePath: findProgram(PROGRAMS[name]),
    userDataDir: profile,
    args: name === "firefox" ? [] : CHROMIUM_FLAGS,
    defaultViewport: { width: 1280, height: 900 },
    protocolTimeout: 300_000,
    timeout: 120_000,
  });
  return {
    newTab: async () => new Tab(await browser.newPage()),
    close: async () => {
      await browser.close();
      await rm(profile, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}

class Tab {
  #page;
  #said = [];
  #requested = [];

  constructor(page) {
    this.#page = page;
    page.on("request", (request) => this.#requested.push(request.url()));
    page.on("console", (message) => this.#said.push(`${message.type()}: ${message.text()}`));
    page.on("pageerror", (error) => this.#said.push(`uncaught: ${error.message}`));
  }

  async goto(url) {
    await this.#page.goto(url, { waitUntil: "load", timeout: 120_000 });
  }

  reload() {
    return this.goto(this.#page.url());
  }

  evaluate(code, ...args) {
    return this.#page.evaluate(code, ...args);
  }

  async click(selector) {
    const element = await this.#page.$(selector);
    if (!element) throw new Error(`there is no ${selector} to click`);
    await element.click();
  }

  activate() {
    return this.#page.bringToFront();
  }

  async screenshot(path) {
    await this.#page.screenshot({ path, fullPage: true });
  }

  /** What the page wrote to the console. */
  said() {
    return this.#said.join("\n");
  }

  /** The addresses that the page asked for. */
  async requested() {
    return this.#requested;
  }

  async close() {
    await this.#page.close();
  }
}

function findProgram(names) {
  for (const name of names) {
    for (const folder of process.env.PATH.split(delimiter)) {
      if (existsSync(join(folder, name))) return join(folder, name);
    }
  }
  throw new Error(`none of ${names.join(", ")} is on the PATH; "tools test" installs the browsers`);
}
