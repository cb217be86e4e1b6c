import assert from "node:assert/strict";
import { test } from "node:test";
import { compare, verdictText } from "../../page/compare.js";

const run = (...steps) => steps.map(([tokenId, logitsSha256]) => ({ tokenId, logitsSha256 }));

test("equal runs match in every step", () => {
  const steps = run([1, "a"], [2, "b"]);
  const comparison = compare(steps, [...steps]);
  assert.deepEqual(comparison, { total: 2, tokensMatched: 2, digestsMatched: 2, firstDifference: null });
  assert.equal(verdictText(comparison), "2/2 tokens, 2/2 logit digests match");
});

test("an equal token with another digest is a difference", () => {
  assert.deepEqual(compare(run([1, "a"], [2, "b"], [3, "c"]), run([1, "a"], [2, "x"], [4, "c"])), {
    total: 3,
    tokensMatched: 2,
    digestsMatched: 2,
    firstDifference: 2,
  });
});

test("the longer run is the total, and a missing step is a difference", () => {
  const comparison = compare(run([1, "a"]), run([1, "a"], [2, "b"]));
  assert.deepEqual(comparison, { total: 2, tokensMatched: 1, digestsMatched: 1, firstDifference: 2 });
});

test("digests that are missing on both sides are not equal", () => {
  assert.equal(compare(run([1, undefined]), run([1, undefined])).digestsMatched, 0);
  assert.equal(compare(run([1, ""]), run([1, ""])).digestsMatched, 0);
});

test("nothing against nothing is nothing", () => {
  assert.deepEqual(compare([], []), { total: 0, tokensMatched: 0, digestsMatched: 0, firstDifference: null });
});
