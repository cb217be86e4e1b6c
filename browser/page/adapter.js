// The adapter part of the page: the two files of the adapter that the browser uses, to download, and a place to drop such
// files, which nobody but the engine in this tab reads.

import { takeFiles } from "./drop-area.js";
import { shortDigest } from "./format.js";
import { offer } from "./offer.js";

const $ = (id) => document.getElementById(id);
/** What a file of each kind may have at most: far more than an adapter needs, far less than a mistake may bring. */
const LIMITS = { config: 1e6, weights: 1e9 };
const NAMES = { config: "adapter_config.json", weights: "adapter_model.safetensors" };

/**
 * Sorts dropped files by what they are. A file of a kind that is there already takes its place.
 * @template {{name: string, size: number}} F
 * @param {F[]} files
 * @param {{config?: F, weights?: F}} earlier
 * @returns {{config?: F, weights?: F}}
 * @throws {Error} which names the file that is not an adapter's
 */
export function sortFiles(files, earlier = {}) {
  const found = { ...earlier };
  for (const file of files) {
    const kind = /\.json$/i.test(file.name) ? "config" : /\.safetensors$/i.test(file.name) ? "weights" : null;
    if (kind === null) throw new Error(`${file.name} is not a file of an adapter; drop ${NAMES.config} and ${NAMES.weights}`);
    if (file.size > LIMITS[kind]) throw new Error(`${file.name} has ${file.size} bytes, too many for ${NAMES[kind]}`);
    found[kind] = file;
  }
  return found;
}

export class AdapterPanel {
  #engine = null;
  #hooks;
  #files = {};

  /** @param {{busy: (loading: boolean) => void, loaded: () => void, log: (text: string) => void}} hooks what the page does when something changes here */
  constructor(hooks) {
    this.#hooks = hooks;
    takeFiles($("adapter-drop"), $("adapter-files"), (files) => this.#take(files));
  }

  /** From now on adapters can be taken. @param {import("./engine.js").Engine} engine */
  ready(engine) {
    this.#engine = engine;
    this.enable(true);
  }

  /** Whether files are taken. @param {boolean} idle */
  enable(idle) {
    $("adapter-files").disabled = !(idle && this.#engine !== null);
  }

  /** Shows the adapter that the engine uses now, with its files. */
  async show() {
    const digest = this.#engine.adapterSha256;
    $("adapter").dataset.adapterDigest = digest ?? "";
    $("adapter-state").textContent = digest === null ? "The browser uses no adapter." : `The browser uses the adapter ${shortDigest(digest)}.`;
    $("adapter-state").title = digest ?? "";
    offer("adapter", null);
    if (digest === null) return;
    const { config, weights } = await this.#engine.exportAdapter();
    offer("adapter", { config, weights });
  }

  async #take(files) {
    this.#say("");
    try {
      this.#files = sortFiles(files, this.#files);
      const missing = ["config", "weights"].filter((kind) => !this.#files[kind]);
      if (missing.length > 0) return this.#say(missing.length === 1 ? `Now ${NAMES[missing[0]]}, please.` : "");
    } catch (error) {
      return this.#say(error.message);
    }
    const { config, weights } = this.#files;
    this.#files = {};
    this.#hooks.busy(true);
    try {
      await this.#engine.loadAdapter({ config: await config.arrayBuffer(), weights: await weights.arrayBuffer() });
      await this.show();
      this.#hooks.log(`The browser took the adapter ${shortDigest(this.#engine.adapterSha256)}`);
      this.#hooks.loaded();
    } catch (error) {
      this.#say(`The adapter is not used: ${error.message}`);
      this.#hooks.log(`An adapter was refused: ${error.message}`);
    }
    this.#hooks.busy(false);
  }

  #say(text) {
    $("adapter-error").hidden = text === "";
    $("adapter-error").textContent = text;
  }
}
