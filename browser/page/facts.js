// What runs here, and what happened: weights, digests, self-test, memory, cache and the event log.

import { formatBytes, shortDigest } from "./format.js";

export class Facts {
  #engineDigest = null;
  #serverDigest = null;
  #startedAt = performance.now();

  /** @param {import("./engine.js").EngineInfo} info */
  engine(info) {
    show("fact-weights", `${info.name}, ${info.source}`);
    show("fact-self-test", info.selfTest ?? "golden bits reproduced");
    this.memory(info.memoryBytes);
    this.#engineDigest = info.weightsSha256;
    this.#digests();
    this.log(info.selfTest ? `Self-test failed: ${info.selfTest}` : "Self-test: golden bits reproduced");
  }

  /** @param {{weightsSha256?: string}} status the server's */
  server(status) {
    this.#serverDigest = status.weightsSha256 ?? null;
    this.#digests();
  }

  /** The digests of the weights that both sides now have. @param {string | null} native @param {string} browser */
  weights(native, browser) {
    this.#serverDigest = native;
    this.#engineDigest = browser;
    this.#digests();
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
    showDigests("fact-digest", this.#serverDigest, this.#engineDigest, "unknown");
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
