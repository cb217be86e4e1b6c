// The training part of the page: each side learns a text, and losses and weights are compared. The browser's text goes to
// the engine in this tab and nowhere else.

import { AdapterPanel } from "./adapter.js";
import { LossChart } from "./chart.js";
import { compareTraining, firstOtherToken, trainingText } from "./compare.js";
import { resetNative, stopNative, trainNative } from "./native.js";
import { offerReceipt } from "./receipt-link.js";
import { defaultLearningRate } from "./train-options.js";
import { showVerdict } from "./verdict.js";

/** What each method is trained by: plain gradient descent teaches an adapter too little, or too much at once. */
const OPTIMIZERS = { full: "sgd", lora: "adamw" };

const $ = (id) => document.getElementById(id);

export class Training {
  #chart = new LossChart($("train-chart"));
  #adapter;
  #engine = null;
  #server = false;
  #hooks;
  /** Whether the page generates at the moment, or this part trains. */
  #busy = false;
  /** Whether a side may have other weights than the base's. */
  #changed = false;
  #stopping = null;

  /**
   * @param {{busy: (training: boolean) => void, regenerate: () => Promise<void>,
   *   weights: (native: import("./facts.js").Identity | null, browser: import("./facts.js").Identity) => void,
   *   memory: (bytes: number) => void, log: (text: string) => void}} hooks what the page does when something changes here
   */
  constructor(hooks) {
    this.#hooks = hooks;
    $("training").addEventListener("submit", (event) => {
      event.preventDefault();
      if (!$("train").disabled) this.#train();
    });
    this.#adapter = new AdapterPanel({
      busy: (busy) => this.#exclusively(busy),
      loaded: () => {
        this.#changed = true;
        this.#hideDivergence();
        hooks.weights(undefined, this.#engine);
      },
      log: hooks.log,
    });
    $("train-method").addEventListener("change", ({ target }) => ($("train-lr").value = defaultLearningRate(target.value, OPTIMIZERS[target.value])));
    $("train-same").addEventListener("click", () => ($("train-browser-text").value = $("train-native-text").value));
    $("train-stop").addEventListener("click", () => this.#stop());
    $("regenerate").addEventListener("click", () => hooks.regenerate());
    $("reset").addEventListener("click", () => this.#reset());
  }

  /** From now on training is possible. @param {import("./engine.js").Engine} engine @param {boolean} server whether a server trains too */
  ready(engine, server) {
    this.#engine = engine;
    this.#server = server;
    $("train-native").hidden = !server;
    $("train-alone").hidden = server;
    $("train-same").hidden = !server;
    this.#adapter.ready(engine);
    this.#enable();
  }

  /** The page begins or ends to generate. @param {boolean} busy */
  generating(busy) {
    this.#busy = busy;
    this.#enable();
  }

  /** After a generation: where the two texts part. @param {import("./compare.js").Step[]} native @param {import("./compare.js").Step[]} browser */
  generated(native, browser) {
    if (!this.#changed) return;
    const first = firstOtherToken(native, browser);
    const box = $("divergence");
    box.hidden = false;
    box.dataset.firstDifference = first ?? "";
    const compared = native.length > 0;
    const same = `Not diverged: ${browser.length} tokens, all the same`;
    $("divergence-text").textContent = !compared ? "No native text to compare with" : first === null ? same : `Diverged at token ${first}`;
    $("divergence-native").hidden = !compared;
    for (const [side, steps] of [["native", native], ["browser", browser]]) {
      const texts = steps.map((step) => step.tokenText);
      const at = first === null || !compared ? texts.length : first - 1;
      const mark = document.createElement("mark");
      mark.textContent = texts[at] ?? "";
      const rest = at < texts.length ? [mark, texts.slice(at + 1).join("")] : [];
      $(`divergence-${side}-output`).replaceChildren(texts.slice(0, at).join(""), ...rest);
    }
  }

  async #train() {
    const steps = Number($("train-steps").value);
    const learningRate = Number($("train-lr").value);
    const method = $("train-method").value;
    const texts = { native: $("train-native-text").value, browser: $("train-browser-text").value };
    this.#stopping = new AbortController();
    const { signal } = this.#stopping;
    this.#begin();
    $("train-losses").hidden = false;
    this.#chart.begin(steps);
    this.#hooks.log(`Training ${method === "lora" ? "an adapter" : "all weights"}: ${steps} steps, learning rate ${learningRate}`);
    const losses = { native: [], browser: [] };
    const startedAt = performance.now();
    const how = { steps, learningRate, method, optimizer: OPTIMIZERS[method], signal };
    const onStep = (side) => ({ step, loss }) => {
      losses[side].push(loss);
      this.#chart.add(side, loss);
      const seconds = (performance.now() - startedAt) / 1000 / step;
      $(`train-${side}-progress`).textContent = `step ${step} of ${steps}, loss ${loss.toFixed(3)}, ${seconds.toFixed(1)} s a step`;
    };
    const outcomes = await Promise.allSettled([
      this.#server ? trainNative({ text: texts.native, ...how, onStep: onStep("native") }) : null,
      this.#engine.train({ text: texts.browser, ...how, onStep: onStep("browser") }),
    ]);
    const [native, browser] = outcomes.map(({ value }) => value?.adapterSha256 ?? value?.weightsSha256 ?? null);
    const failures = outcomes.map(({ reason }, i) => reason && `${["native", "browser"][i]}: ${reason.message}`).filter(Boolean);
    this.#changed = native !== null || browser !== null;
    const comparison = compareTraining(losses.native, losses.browser, native, browser);
    const sameText = this.#server && texts.native === texts.browser;
    const state = failures.length > 0 ? "error" : signal.aborted ? "stopped" : "done";
    const text = state === "error" ? `Failed: ${failures.join("; ")}` : trainingText(comparison, { server: this.#server, sameText, method });
    // No equality is expected of other texts.
    const outcome = sameText ? (comparison.equal ? "equal" : "different") : "";
    showVerdict($("train-verdict"), state, state === "stopped" ? `Stopped: ${text}` : text, {
      outcome, method, nativeDigest: native ?? "", browserDigest: browser ?? "", lossesMatched: comparison.lossesMatched, total: comparison.total,
    });
    const [nativeReceipt, browserReceipt] = outcomes.map(({ value }) => value?.receipt ?? null);
    offerReceipt("train-native", nativeReceipt && JSON.stringify(nativeReceipt));
    offerReceipt("train-browser", browserReceipt);
    this.#hooks.weights(outcomes[0].value, this.#engine);
    // An engine that has stopped has no files of its adapter.
    await this.#adapter.show().catch((error) => this.#hooks.log(`The adapter is not offered: ${error.message}`));
    this.#end();
  }

  #stop() {
    this.#stopping?.abort();
    $("train-stop").disabled = true;
    if (this.#server) stopNative().catch((error) => this.#hooks.log(`The server did not stop: ${error.message}`));
  }

  async #reset() {
    this.#begin();
    try {
      const [native] = await Promise.all([this.#server ? resetNative() : null, this.#engine.reset()]);
      this.#changed = false;
      $("train-losses").hidden = true;
      const text = this.#server ? "Both sides have their base weights again" : "The browser has its base weights again";
      showVerdict($("train-verdict"), "idle", text, { nativeDigest: "", browserDigest: "", lossesMatched: 0, total: 0 });
      this.#hooks.weights(native, this.#engine);
      await this.#adapter.show();
    } catch (error) {
      showVerdict($("train-verdict"), "error", `Failed: ${error.message}`);
    }
    this.#end();
  }

  #begin() {
    this.#exclusively(true);
    $("train-stop").disabled = this.#stopping === null;
    this.#hideDivergence();
    for (const side of ["native", "browser"]) {
      $(`train-${side}-progress`).textContent = "";
      offerReceipt(`train-${side}`, null);
    }
    showVerdict($("train-verdict"), "running", "Working");
  }

  #end() {
    this.#stopping = null;
    $("train-stop").disabled = true;
    this.#hooks.log($("train-verdict").textContent);
    this.#exclusively(false);
  }

  /** While the engine's weights change, nothing else uses them. @param {boolean} busy */
  #exclusively(busy) {
    this.#hooks.busy(busy);
    this.generating(busy);
    if (!busy) this.#hooks.memory(this.#engine.info.memoryBytes);
  }

  #hideDivergence() {
    $("divergence").hidden = true;
    $("divergence").dataset.firstDifference = "";
  }

  #enable() {
    const idle = this.#engine !== null && !this.#busy;
    $("train").disabled = !idle;
    this.#adapter.enable(idle);
    for (const id of ["regenerate", "reset"]) $(id).disabled = !(idle && this.#changed);
  }
}
