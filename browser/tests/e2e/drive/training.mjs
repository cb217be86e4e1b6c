// What a person does in the training part of the page.

import { look } from "./page.mjs";
import { until } from "./until.mjs";

/** The verdict: its state, text and data; the adapter in use, what is wrong with a dropped one, and the learning rate. */
export function trained(tab) {
  return tab.evaluate(() => {
    const element = document.getElementById("train-verdict");
    const error = document.getElementById("adapter-error");
    return {
      ...element.dataset, said: element.textContent,
      adapter: document.getElementById("adapter").dataset.adapterDigest,
      error: error.hidden ? "" : error.textContent,
      learningRate: document.getElementById("train-lr").value,
    };
  });
}

/** Fills in the form, trains, and waits for the end. */
export async function train(tab, texts, { method, steps }) {
  await tab.evaluate(
    (texts, method, steps) => {
      for (const [side, text] of Object.entries(texts)) document.getElementById(`train-${side}-text`).value = text;
      document.getElementById("train-steps").value = steps;
      const field = document.getElementById("train-method");
      field.value = method;
      field.dispatchEvent(new Event("change", { bubbles: true }));
    },
    texts,
    method,
    steps,
  );
  await tab.click("#train");
  const final = async () => {
    const now = await trained(tab);
    return ["idle", "running"].includes(now.state) ? null : now;
  };
  return until("the training ends", final, 300, async () => JSON.stringify([await trained(tab), await look(tab)]));
}
