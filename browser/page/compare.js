// The verdict: which steps of two runs have the same token id and the same logits digest.

/**
 * @typedef {{tokenId: number, logitsSha256: string}} Step
 * @typedef {{total: number, tokensMatched: number, digestsMatched: number, firstDifference: number | null}} Comparison
 *   `total` is the longer of the two runs; `firstDifference` counts from 1.
 */

/** @param {Step | undefined} a @param {Step | undefined} b */
export function sameToken(a, b) {
  return a !== undefined && b !== undefined && a.tokenId === b.tokenId;
}

/** @param {Step | undefined} a @param {Step | undefined} b */
export function sameDigest(a, b) {
  return a !== undefined && b !== undefined && Boolean(a.logitsSha256) && a.logitsSha256 === b.logitsSha256;
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
