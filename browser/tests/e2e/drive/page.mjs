// What a person does on the page, and what they see.

import { until } from "./until.mjs";

/** Opens the page and waits until it can generate. */
export async function open(tab, url) {
  await tab.goto(url);
  await ready(tab);
}

/** Waits until the button can be pressed; an error on the page ends the wait. */
export async function ready(tab) {
  await until(
    "the page is ready",
    async () => {
      const { enabled, failure } = await look(tab);
      if (failure) throw new Error(`the page says: ${failure}`);
      return enabled;
    },
    180,
    async () => JSON.stringify(await look(tab)),
  );
}

/** Whether the button can be pressed, and what the page says of a failure and of the loading. */
export function look(tab) {
  return tab.evaluate(() => {
    const shown = (id) => {
      const element = document.getElementById(id);
      return element && !element.hidden ? element.textContent : "";
    };
    return {
      enabled: document.getElementById("generate")?.disabled === false,
      failure: shown("failure"),
      loading: shown("loading-text"),
      loadButton: shown("load-model"),
    };
  });
}

/** Fills in the form. */
export function ask(tab, { prompt, maxTokens }) {
  return tab.evaluate(
    (values) => {
      for (const [id, value] of Object.entries(values)) {
        if (value === null) continue;
        const field = document.getElementById(id);
        field.value = value;
        field.dispatchEvent(new Event("input", { bubbles: true }));
      }
    },
    { prompt: prompt ?? null, "max-tokens": maxTokens ?? null },
  );
}

/** Presses the button and waits for the final verdict. */
export async function generate(tab, request = {}) {
  await ask(tab, request);
  await tab.click("#generate");
  return verdict(tab);
}

/** Waits for the final verdict and returns it with both columns. */
export async function verdict(tab, seconds = 240) {
  const finished = async () => {
    const now = await result(tab);
    return ["idle", "running"].includes(now.state) ? null : now;
  };
  return until("the verdict is final", finished, seconds, async () => JSON.stringify(await result(tab)));
}

/** The verdict and the columns as they are. */
export function result(tab) {
  return tab.evaluate(() => {
    const side = (name) => {
      const chips = [...document.getElementById(`${name}-tokens`).children];
      return {
        ids: chips.map((chip) => Number(chip.dataset.tokenId)),
        digests: chips.map((chip) => chip.dataset.logitsSha256),
        text: document.getElementById(`${name}-output`).textContent,
      };
    };
    const element = document.getElementById("verdict");
    const { state, tokensMatched, digestsMatched, total } = element.dataset;
    return {
      state, text: element.textContent, native: side("native"), browser: side("browser"),
      tokensMatched: Number(tokensMatched), digestsMatched: Number(digestsMatched), total: Number(total),
    };
  });
}
