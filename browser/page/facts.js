// What runs here, and what happened: weights, digests, threads, self-test, memory, cache and the event log.

import { formatBytes, shortDigest } from "./format.js";

/** @typedef {{weightsSha256?: string | null, adapterSha256?: string | null}} Identity */

export class Facts {
  /** The digests of weights and adapter of each side, as far as they are known. */
  #native = {};
  #browser = {};
  #startedAt = performance.now();

  /** @param {import("./engine.js").EngineInfo} info */
  engine(info) {
    show("fact-weights", `${info.name}, ${info.source}`);
    show("fact-self-test", info.selfTest ?? "golden bits reproduced");
    show("fact-threads", info.oneThread === null ? `${info.threads}, which share one memory` : `1: ${info.oneThread}`);
    document.getElementById("fact-threads").dataset.threads = info.threads;
    this.memory(info.memoryBytes);
    this.#browser = info;
    this.#digests();
    this.log(info.selfTest ? `Self-test failed: ${info.selfTest}` : "Self-test: golden bits reproduced");
  }

  /** @param {Identity} identity what the native side computes with */
  server(identity) {
    this.#native = identity;
    this.#digests();
  }

  /** @param {Identity | null | undefined} native @param {Identity} browser what the sides compute with now; undefined is as before */
  weights(native, browser) {
    if (native !== undefined) this.#native = native ?? {};
    this.#browser = { weightsSha256: browser.weightsSha256, adapterSha256: browser.adapterSha256 };
    this.#digests();
  }

  /** Whether both sides are known to compute with other weights, or another adapter, so that results must differ. */
  get apart() {
    const [a, b] = [this.#native, this.#browser];
    return Boolean(a.weightsSha256 && b.weightsSha256) && (a.weightsSha256 !== b.weightsSha256 || (a.adapterSha256 ?? null) !== (b.adapterSha256 ?? null));
  }

  /** @param {number} bytes of WebAssembly memory */
  memory(bytes) {
    show("memory", `${formatBytes(bytes)} of WebAssembly memory`);
    document.getElementById("memory").dataset.memoryBytes = bytes;
  }

  /** @param {{bytes: number, unavailable: string | null}} size */
  cacheSize({ bytes, unavailable }) {
    show("cache-size", unavailable !== null ? `nothing: ${unavailable}` : bytes === 0 ? "nothing" : formatBytes(bytes));
    document.getElementById("delete-cache").hidden = bytes === 0;
  }

  /** @param {string | null} shellMissing why the page is not kept @param {boolean} modelKept */
  offline(shellMissing, modelKept) {
    if (shellMissing !== null) show("fact-offline", `not possible: ${shellMissing}`);
    else show("fact-offline", modelKept ? "ready: page and model are kept" : "the model is not kept");
  }

  /** Adds a line to the event log. @param {string} text */
  log(text) {
    const list = document.getElementById("log");
    const line = document.createElement("li");
    const time = document.createElement("time");
    time.textContent = `${((performance.now() - this.#startedAt) / 1000).toFixed(1)} s`;
    const message = document.createElement("span");
    message.textContent = text;
    line.append(time, " ", message);
    list.append(line);
    list.scrollTop = list.scrollHeight;
  }

  /** @param {string | null | undefined} native @param {string | null | undefined} browser digests of the whole runs */
  transcripts(native, browser) {
    showDigests("fact-transcript", native, browser, "none");
  }

  #digests() {
    showDigests("fact-digest", this.#native.weightsSha256, this.#browser.weightsSha256, "unknown");
    const adapters = [this.#native.adapterSha256, this.#browser.adapterSha256];
    showDigests("fact-adapter", ...adapters, "none");
    if (this.#native.weightsSha256 && adapters.filter(Boolean).length === 1) {
      document.getElementById("fact-adapter").append(adapters[0] ? ", on the native side only" : ", in the browser only");
    }
    document.querySelector("main").dataset.weights = this.apart ? "apart" : "same";
  }
}

/** The digest of both sides, or of the one that has it. */
function showDigests(id, native, browser, missing) {
  const element = document.getElementById(id);
  element.title = browser ?? native ?? "";
  if (native && browser && native !== browser) element.textContent = `native ${shortDigest(native)}, browser ${shortDigest(browser)}: different`;
  else if (native && browser) element.textContent = `${shortDigest(browser)}, the same on both sides`;
  else element.textContent = native || browser ? shortDigest(browser ?? native) : missing;
}

function show(id, text) {
  document.getElementById(id).textContent = text;
}
