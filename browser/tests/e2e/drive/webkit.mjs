// WebKitGTK's MiniBrowser, driven by WebKitWebDriver over the WebDriver protocol, on a virtual display.

import { existsSync, readdirSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { start, stop } from "./children.mjs";
import { freePort } from "./free-port.mjs";
import { until } from "./until.mjs";

/** The key under which WebDriver hands out elements. */
const ELEMENT = "element-6066-11e4-a52e-4f735466cecf";

/** Safari gives isolated pages shared memory; WebKitGTK does when told to. */
const SAFARI = { JSC_useSharedArrayBuffer: "1" };

export async function openWebKit() {
  const port = await freePort();
  const program = [
    ...["--", "xvfb-run", "--auto-servernum", "--server-args=-screen 0 1400x1000x24"],
    ...["WebKitWebDriver", `--port=${port}`],
  ];
  const driver = start("dbus-run-session", program, { env: SAFARI });
  try {
    const base = `http://127.0.0.1:${port}`;
    await until("WebKitWebDriver answers", () => driverIsReady(base, driver), 60, driver.said);
    const capabilities = {
      alwaysMatch: { "webkitgtk:browserOptions": { binary: miniBrowser(), args: ["--automation"] } },
    };
    const { sessionId } = await call(base, "POST", "/session", { capabilities });
    const session = new Session(`${base}/session/${sessionId}`);
    await session.call("POST", "/timeouts", { script: 300_000, pageLoad: 60_000 });
    return {
      newTab: async () => new Tab(session, await session.newWindow()),
      close: async () => {
        await session.call("DELETE", "").catch(() => {}); // a crashed browser has ended its session
        await stop(driver);
      },
    };
  } catch (error) {
    await stop(driver);
    throw new Error(`${error.message}\n${driver.said()}`);
  }
}

/** One WebDriver session. Its commands go to one window at a time, so each waits for the one before. */
class Session {
  #url;
  #home;
  #window;
  #last = Promise.resolve();

  constructor(url) {
    this.#url = url;
  }

  call(method, path, body) {
    return call(this.#url, method, path, body);
  }

  /** Runs `commands` in a window, alone. */
  inWindow(window, commands) {
    const result = this.#last.then(async () => {
      if (this.#window !== window) await this.call("POST", "/window", { handle: window });
      this.#window = window;
      return commands();
    });
    this.#last = result.catch(() => {});
    return result;
  }

  /** A window, not a tab, since a tab in the background is not drawn. The first window stays: without one the session ends. */
  async newWindow() {
    this.#home ??= await this.call("GET", "/window");
    const open = () => this.call("POST", "/window/new", { type: "window" });
    return (await this.inWindow(this.#home, open)).handle;
  }
}

class Tab {
  #session;
  #window;

  constructor(session, window) {
    this.#session = session;
    this.#window = window;
  }

  #call(method, path, body) {
    return this.#session.inWindow(this.#window, () => this.#session.call(method, path, body));
  }

  /**
   * Twice in CI the driver waited for a page until its time was up, why is not known. The second time it was asked again, and the window
   * answered nothing any more, but the next window did: another one is asked then, and this says so.
   */
  async goto(url) {
    try {
      await this.#call("POST", "/url", { url });
    } catch (error) {
      if (!/: timeout:/.test(error.message)) throw error;
      console.error(`WebKit did not say that it had loaded ${url}; another window is asked. (${error.message})`);
      const silent = this.#window;
      this.#window = await this.#session.newWindow();
      await this.#session.inWindow(silent, () => this.#session.call("DELETE", "/window"));
      await this.#call("POST", "/url", { url });
    }
  }

  reload() {
    return this.#call("POST", "/refresh", {});
  }

  async evaluate(code, ...args) {
    const script = `const [args, answer] = arguments;
      Promise.resolve().then(() => (${code})(...args)).then(
        (value) => answer({ value }), (error) => answer({ error: String(error) + "\\n" + (error?.stack ?? "") }));`;
    const { value, error } = await this.#call("POST", "/execute/async", { script, args: [args] });
    if (error !== undefined) throw new Error(error);
    return value;
  }

  click(selector) {
    return this.#session.inWindow(this.#window, async () => {
      const element = await this.#session.call("POST", "/element", { using: "css selector", value: selector });
      await this.#session.call("POST", `/element/${element[ELEMENT]}/click`, {});
    });
  }

  activate() {
    return this.#call("GET", "/title");
  }

  async screenshot(path) {
    await writeFile(path, Buffer.from(await this.#call("GET", "/screenshot"), "base64"));
  }

  said() {
    return "(WebKitWebDriver does not tell what the page wrote to the console)";
  }

  requested() {
    return this.evaluate(() => performance.getEntries().map(({ name }) => name).filter((name) => name.includes("://")));
  }

  close() {
    return this.#call("DELETE", "/window");
  }
}

async function call(base, method, path, body) {
  const response = await fetch(base + path, { method, body: body && JSON.stringify(body) });
  const { value } = await response.json();
  if (!response.ok) throw new Error(`WebKitWebDriver: ${method} ${path}: ${value.error}: ${value.message}`);
  return value;
}

async function driverIsReady(base, driver) {
  if (driver.exitCode !== null) throw new Error("WebKitWebDriver ended");
  return (await call(base, "GET", "/status").catch(() => ({}))).ready;
}

function miniBrowser() {
  for (const folder of readdirSync("/usr/lib").map((name) => join("/usr/lib", name))) {
    for (const version of ["webkit2gtk-4.1", "webkit2gtk-4.0", "webkitgtk-6.0"]) {
      const program = join(folder, version, "MiniBrowser");
      if (existsSync(program)) return program;
    }
  }
  throw new Error("there is no MiniBrowser below /usr/lib; \"tools test\" installs it");
}
