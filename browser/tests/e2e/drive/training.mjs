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

/** From now on the page's files to download are kept for `madeFiles`. */
export function watchFiles(tab) {
  return tab.evaluate(() => {
    const make = URL.createObjectURL;
    window.madeFiles = new Map();
    URL.createObjectURL = (blob) => {
      const url = make(blob);
      window.madeFiles.set(url, blob);
      return url;
    };
  });
}

/** The contents of adapter_config.json and adapter_model.safetensors, as the page offers them, in base64. */
export function madeFiles(tab) {
  return tab.evaluate(() => {
    const content = async (id) => {
      const blob = window.madeFiles.get(document.getElementById(id).href);
      let text = "";
      for (const byte of new Uint8Array(await blob.arrayBuffer())) text += String.fromCharCode(byte);
      return btoa(text);
    };
    return Promise.all(["adapter-config", "adapter-weights"].map(content));
  });
}

/** Drops files on the page. @param {[string, string][]} files names, and contents in base64 */
export function dropFiles(tab, files) {
  return tab.evaluate((files) => {
    const dataTransfer = new DataTransfer();
    for (const [name, content] of files) {
      dataTransfer.items.add(new File([Uint8Array.from(atob(content), (c) => c.charCodeAt(0))], name));
    }
    const area = document.getElementById("adapter-drop");
    for (const type of ["dragover", "drop"]) area.dispatchEvent(new DragEvent(type, { dataTransfer, bubbles: true, cancelable: true }));
  }, files);
}
