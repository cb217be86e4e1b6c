// One column: text, token chips and speed. Everything from the model enters the page as text, never as markup.

import { chipParts, speedText } from "./format.js";
import { offerReceipt } from "./receipt-link.js";

export class Side {
  /** The steps so far. @type {(import("./compare.js").Step & {tokenText: string, last: boolean})[]} */
  steps = [];
  #name;
  #elements;
  #startedAt = 0;
  #times = [];

  /**
   * @param {"native" | "browser"} name the prefix of the column's ids
   * @param {(index: number) => void} onSelect a chip was chosen
   */
  constructor(name, onSelect) {
    this.#name = name;
    const element = (part) => document.getElementById(`${name}-${part}`);
    this.#elements = {
      about: element("about"), prompt: element("prompt"), output: element("output"), tokens: element("tokens"), speed: element("speed"),
    };
    this.#elements.tokens.addEventListener("click", (event) => this.#select(event.target.closest("button"), onSelect));
    this.#elements.tokens.addEventListener("focusin", (event) => this.#select(event.target, onSelect));
    this.#elements.tokens.addEventListener("keydown", (event) => this.#move(event));
  }

  /** Says what computes this column. @param {string} text */
  about(text) {
    this.#elements.about.textContent = text;
  }

  /** Empties the column for a run of this prompt. @param {string} prompt @param {boolean} chat whether it is a message, which is answered */
  begin(prompt, chat) {
    this.steps = [];
    this.#times = [];
    this.#startedAt = performance.now();
    this.#elements.prompt.textContent = prompt;
    this.#elements.prompt.dataset.mode = chat ? "chat" : "raw";
    this.#elements.output.textContent = "";
    this.#elements.tokens.replaceChildren();
    this.#elements.speed.textContent = "";
    delete this.#elements.speed.dataset.firstTokenMs;
    this.receipt(null);
  }

  /** Offers the receipt of the run, as canonical JSON. @param {string | null} receipt */
  receipt(receipt) {
    offerReceipt(this.#name, receipt);
  }

  /** Says something in place of the speed. @param {string} text */
  note(text) {
    this.#elements.speed.textContent = text;
  }

  /** @param {{tokenId: number, tokenText: string, logitsSha256: string}} token @param {boolean} last */
  add(token, last) {
    this.steps.push({ ...token, last });
    this.#times.push(performance.now());
    this.#elements.output.append(token.tokenText);
    this.#elements.tokens.append(this.#chip(token, last));
    this.note(this.#speed());
  }

  /** Colours a chip. @param {number} index @param {"match" | "differ" | ""} verdict */
  mark(index, verdict) {
    const chip = this.#elements.tokens.children[index];
    if (chip) chip.dataset.verdict = verdict;
  }

  /** Shows which chip both columns look at. @param {number} index */
  highlight(index) {
    for (const chip of this.#elements.tokens.querySelectorAll("[aria-current]")) chip.removeAttribute("aria-current");
    this.#elements.tokens.children[index]?.setAttribute("aria-current", "true");
  }

  #chip(token, last) {
    const chip = document.createElement("button");
    chip.type = "button";
    chip.className = "chip";
    chip.tabIndex = this.steps.length === 1 ? 0 : -1; // one stop for the tab key, arrows inside
    chip.dataset.tokenId = token.tokenId;
    chip.dataset.logitsSha256 = token.logitsSha256;
    for (const { text, mark } of chipParts(token.tokenText, last)) {
      const part = document.createElement(mark ? "i" : "span");
      part.textContent = text;
      chip.append(part);
    }
    chip.setAttribute("aria-label", `${this.#name} step ${this.steps.length}, token ${token.tokenId}, ${JSON.stringify(token.tokenText)}`);
    return chip;
  }

  #select(chip, onSelect) {
    const chips = [...this.#elements.tokens.children];
    const index = chips.indexOf(chip);
    if (index < 0) return;
    for (const other of chips) other.tabIndex = other === chip ? 0 : -1;
    onSelect(index);
  }

  #move(event) {
    const chips = [...this.#elements.tokens.children];
    const index = chips.indexOf(document.activeElement);
    const target = { ArrowRight: index + 1, ArrowLeft: index - 1, Home: 0, End: chips.length - 1 }[event.key];
    if (target === undefined || !chips[target]) return;
    event.preventDefault();
    chips[target].focus();
  }

  #speed() {
    const [first, last] = [this.#times[0], this.#times.at(-1)];
    const firstMs = first - this.#startedAt;
    this.#elements.speed.dataset.firstTokenMs = firstMs;
    return speedText({ tokens: this.#times.length, firstMs, restMs: last - first });
  }
}
