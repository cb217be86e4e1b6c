// Verdicts: how something stands, and in the end how it came out.

const WORDS = {
  MATCH: "MATCH: computed again, every bit is as the receipt says",
  MISMATCH: "MISMATCH",
  CANNOT_VERIFY: "It cannot be verified here",
  MALFORMED: "This is no receipt",
};

/**
 * Shows a verdict.
 * @param {HTMLElement} element
 * @param {"idle" | "running" | "stopped" | "done" | "error"} state
 * @param {string} text
 * @param {object} [data] more of it, for style and tests: `outcome` is "equal", "different", or "apart" where a difference is expected;
 *   `verdict` and `step` are of a receipt
 */
export function showVerdict(element, state, text, data = {}) {
  element.textContent = text;
  element.ariaBusy = state === "running"; // screen readers hear the start and the end, not every step
  Object.assign(element.dataset, { state, outcome: "", verdict: "", step: "", ...data });
}

/**
 * Shows how verifying a receipt stands, and why.
 * @param {string} name the prefix of the ids of the two elements
 * @param {Partial<import("./engine.js").Verification>} [result]
 */
export function showReceiptVerdict(name, state, text, { verdict = "", step = null, why = null } = {}) {
  showVerdict(document.getElementById(`${name}-verdict`), state, text, { verdict, step: step ?? "" });
  document.getElementById(`${name}-why`).textContent = why ?? "";
}

/** What the verdict on a receipt says. @param {import("./engine.js").Verification} result @param {string} part what a step of it is called */
export function verdictWords({ verdict, step }, part) {
  return step === null ? WORDS[verdict] : `${WORDS[verdict]} at ${part} ${step}`;
}
