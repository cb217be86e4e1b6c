// The chart of the losses: both sides over the same steps, as SVG whose looks are in training.css.

const SVG = "http://www.w3.org/2000/svg";
const HEIGHT = 190;
const MARGIN = { left: 44, right: 14, top: 14, bottom: 28 };
const GRID_LINES = 3;

export class LossChart {
  #svg;
  #steps = 1;
  #losses = { native: [], browser: [] };

  /** @param {SVGElement} svg */
  constructor(svg) {
    this.#svg = svg;
    new ResizeObserver(() => this.#draw()).observe(svg);
  }

  /** Empties the chart and makes room for so many steps. @param {number} steps */
  begin(steps) {
    this.#steps = steps;
    this.#losses = { native: [], browser: [] };
    this.#draw();
  }

  /** @param {"native" | "browser"} side @param {number} loss */
  add(side, loss) {
    this.#losses[side].push(loss);
    this.#draw();
  }

  #draw() {
    const { native, browser } = this.#losses;
    const top = Math.max(...native, ...browser, 0) || 1;
    const width = Math.max(this.#svg.clientWidth, 200);
    this.#svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    const x = (step) => MARGIN.left + ((step - 1) / Math.max(this.#steps - 1, 1)) * (width - MARGIN.left - MARGIN.right);
    const y = (loss) => MARGIN.top + (1 - loss / top) * (HEIGHT - MARGIN.top - MARGIN.bottom);
    const marks = [];
    for (let line = 0; line <= GRID_LINES; line++) {
      const loss = (top * line) / GRID_LINES;
      marks.push(element("line", { class: "grid", x1: MARGIN.left, x2: width - MARGIN.right, y1: y(loss), y2: y(loss) }));
      marks.push(element("text", { class: "loss", x: MARGIN.left - 8, y: y(loss) + 4 }, loss.toFixed(1)));
    }
    const every = Math.ceil(this.#steps / 10);
    for (let step = 1; step <= this.#steps; step += every) {
      marks.push(element("text", { class: "step", x: x(step), y: HEIGHT - 8 }, step));
    }
    // The browser's line lies on the native one, thinner, so that both are seen where they are equal.
    for (const side of ["native", "browser"]) {
      const points = this.#losses[side].map((loss, i) => `${x(i + 1).toFixed(1)},${y(loss).toFixed(1)}`);
      marks.push(element("polyline", { class: side, points: points.join(" ") }));
      for (const point of points) {
        const [cx, cy] = point.split(",");
        marks.push(element("circle", { class: side, cx, cy, r: side === "native" ? 6 : 3 }));
      }
    }
    this.#svg.replaceChildren(...marks);
    const course = (losses) => (losses.length > 0 ? `${losses[0].toFixed(3)} to ${losses.at(-1).toFixed(3)}` : "none");
    this.#svg.setAttribute("aria-label", `Loss by step. Native: ${course(native)}. Browser: ${course(browser)}.`);
  }
}

function element(name, attributes, text = "") {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.textContent = text;
  return made;
}
