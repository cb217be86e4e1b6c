// The verdict: which steps of two runs have the same token id and the same logits digest.

import { counted } from "./format.js";

/**
 * @typedef {{tokenId: number, logitsSha256: string}} Step
 * @typedef {{total: number, tokensMatched: number, digestsMatched: number, firstDifference: number | null}} Comparison
 *   `total` is the longer of the two runs; `firstDifference` counts from 1.
 */

/** @param {Step | undefined} a @param {Step | undefined} b */
function sameToken(a, b) {
  return a !== undefined && b !== undefined && a.tokenId === b.tokenId;
}

/** @param {Step | undefined} a @param {Step | undefined} b */
function sameDigest(a, b) {
  return a !== undefined && b !== undefined && Boolean(a.logitsSha256) && a.logitsSha256 === b.logitsSha256;
}

/** @param {Step | undefined} a @param {Step | undefined} b */
export function sameStep(a, b) {
  return sameToken(a, b) && sameDigest(a, b);
}

/**
 * @param {Step[]} native
 * @param {Step[]} browser
 * @returns {Comparison}
 */
export function compare(native, browser) {
  const total = Math.max(native.length, browser.length);
  const result = { total, tokensMatched: 0, digestsMatched: 0, firstDifference: null };
  for (let i = 0; i < total; i++) {
    const token = sameToken(native[i], browser[i]);
    const digest = sameDigest(native[i], browser[i]);
    if (token) result.tokensMatched++;
    if (digest) result.digestsMatched++;
    if (!(token && digest)) result.firstDifference ??= i + 1;
  }
  return result;
}

/** @param {Comparison} comparison */
export function verdictText({ total, tokensMatched, digestsMatched }) {
  return `${tokensMatched}/${total} tokens, ${digestsMatched}/${total} logit digests match`;
}

/**
 * The token, counted from 1, at which two texts part; null if they do not. A text that ends earlier parts there.
 * @param {Step[]} native @param {Step[]} browser
 */
export function firstOtherToken(native, browser) {
  const total = Math.max(native.length, browser.length);
  for (let i = 0; i < total; i++) if (!sameToken(native[i], browser[i])) return i + 1;
  return null;
}

/**
 * Two trainings: losses are compared as the binary32 values that they are, weights by their digests.
 * @param {number[]} native @param {number[]} browser the losses
 * @param {string | null} nativeDigest @param {string | null} browserDigest of what was trained
 */
export function compareTraining(native, browser, nativeDigest, browserDigest) {
  const total = Math.max(native.length, browser.length);
  const lossesMatched = browser.filter((loss, i) => i < native.length && Math.fround(loss) === Math.fround(native[i])).length;
  const sameWeights = nativeDigest !== null && nativeDigest === browserDigest;
  return { total, lossesMatched, sameWeights, equal: sameWeights && lossesMatched === total, course: [browser[0], browser.at(-1)] };
}

/**
 * @param {ReturnType<typeof compareTraining>} comparison
 * @param {{server: boolean, sameText: boolean, method: "full" | "lora"}} training
 */
export function trainingText({ total, lossesMatched, sameWeights, course }, { server, sameText, method }) {
  if (!server) {
    const [first, last] = course;
    const losses = total > 0 ? `, loss ${first.toFixed(3)} before and ${last.toFixed(3)} at the last step` : "";
    return `${counted(total, "step")} in the browser${losses}; nothing native to compare with`;
  }
  const learnt = method === "lora" ? "adapters" : "weights";
  const result = sameWeights ? `the ${learnt} are the same bit for bit` : `the ${learnt} differ`;
  return `${lossesMatched}/${total} losses match, ${result}${sameText || sameWeights ? "" : ", as the texts do"}`;
}
