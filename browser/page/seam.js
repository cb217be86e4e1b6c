// The picture of the comparison: each step's digest as bars, native above the line and browser below.

import { sameStep } from "./compare.js";

const SVG = "http://www.w3.org/2000/svg";
const HEIGHT = 100;
/** Bars of all steps together, about. */
const BARS = 250;

export class Seam {
  #svg;
  #barsPerStep = 4;

  /** @param {SVGElement} svg */
  constructor(svg) {
    this.#svg = svg;
  }

  /** Makes room for so many steps. @param {number} steps */
  begin(steps) {
    this.#barsPerStep = Math.max(1, Math.min(4, Math.floor(BARS / steps)));
    this.#svg.replaceChildren();
    this.fit(steps);
  }

  /** Stretches what is there over the width. @param {number} steps */
  fit(steps) {
    this.#svg.setAttribute("viewBox", `0 0 ${Math.max(steps, 1) * this.#barsPerStep} ${HEIGHT}`);
  }

  /** Draws a step of one or both sides. */
  draw(index, native, browser) {
    const verdict = !native || !browser ? "" : sameStep(native, browser) ? "match" : "differ";
    this.#path(`native-${index}`, "native", verdict, native && this.#bars(index, native.logitsSha256, -1));
    this.#path(`browser-${index}`, "browser", verdict, browser && this.#bars(index, browser.logitsSha256, 1));
  }

  #path(key, side, verdict, outline) {
    if (!outline) return;
    let path = this.#svg.querySelector(`[data-key="${key}"]`);
    if (!path) {
      path = document.createElementNS(SVG, "path");
      path.dataset.key = key;
      path.setAttribute("d", outline);
      this.#svg.append(path);
    }
    path.setAttribute("class", `${side} ${verdict}`);
  }

  /** One bar for each of the digest's first bytes, as long as the byte is large. */
  #bars(index, digest = "", direction) {
    let outline = "";
    for (let i = 0; i < this.#barsPerStep; i++) {
      const byte = parseInt(digest.slice(2 * i, 2 * i + 2), 16) || 0;
      const length = direction * (6 + (byte / 255) * (HEIGHT / 2 - 8));
      outline += `M${index * this.#barsPerStep + i + 0.18} ${HEIGHT / 2 + direction}h.64v${length.toFixed(1)}h-.64z`;
    }
    return outline;
  }
}
