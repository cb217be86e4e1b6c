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

  #digests() {
    const element = document.getElementById("fact-digest");
    const digest = this.#engineDigest ?? this.#serverDigest;
    element.title = digest ?? "";
    const both = this.#engineDigest && this.#serverDigest;
    const relation = !both ? "" : this.#engineDigest === this.#serverDigest ? ", the same on both sides" : `, but the server runs ${shortDigest(this.#serverDigest)}`;
    element.textContent = shortDigest(digest) + relation;
  }
}

function show(id, text) {
  document.getElementById(id).textContent = text;
}
