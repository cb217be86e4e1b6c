// What must hold after a run, whichever browser it was in.

import assert from "node:assert/strict";
import { GREEDY_IDS, TEXT } from "./reference.mjs";

/** Both sides gave the reference's 25 ids, and the same bits. */
export function expectLockstep(result) {
  assert.equal(result.state, "done", result.text);
  assert.deepEqual(result.browser.ids, GREEDY_IDS);
  assert.deepEqual(result.native.ids, GREEDY_IDS);
  assert.equal(result.browser.text, TEXT);
  assert.equal(result.native.text, TEXT);
  expectEqualBits(result, 25);
}

/** Both columns have `total` steps, with the same ids and digests, and the verdict says so. */
export function expectEqualBits(result, total) {
  const { native, browser } = result;
  assert.equal(browser.digests.length, total);
  for (const digest of browser.digests) assert.match(digest, /^[0-9a-f]{64}$/);
  assert.equal(new Set(browser.digests).size, total, "each step has logits of its own");
  assert.deepEqual(browser.ids, native.ids);
  assert.deepEqual(browser.digests, native.digests);
  assert.deepEqual([result.tokensMatched, result.digestsMatched, result.total], [total, total, total]);
}
