import assert from "node:assert/strict";
import { test } from "node:test";
import { compare, compareTraining, firstOtherToken, trainingText, verdictText } from "../../page/compare.js";

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

test("two texts part at the first other token", () => {
  const text = (...ids) => ids.map((tokenId) => ({ tokenId, logitsSha256: "other" }));
  assert.equal(firstOtherToken(text(1, 2, 3), text(1, 2, 3)), null);
  assert.equal(firstOtherToken(text(1, 2, 3), text(1, 9, 3)), 2);
  assert.equal(firstOtherToken(text(1, 2), text(1, 2, 3)), 3);
});

test("losses are compared as binary32, weights by their digests", () => {
  // The server prints the shortest decimal of a binary32 value; WebAssembly gives the value itself.
  const same = compareTraining([5.0645032, 1.8154542], [Math.fround(5.0645032), Math.fround(1.8154542)], "d", "d");
  assert.deepEqual([same.lossesMatched, same.total, same.equal], [2, 2, true]);
  assert.equal(compareTraining([1], [1], "d", "e").equal, false);
  assert.equal(compareTraining([1], [1], null, null).equal, false);
  assert.equal(compareTraining([1, 2], [1], "d", "d").equal, false);
  assert.equal(compareTraining([1], [1.0000002], "d", "d").lossesMatched, 0);
});

test("a training is told in words", () => {
  const both = { server: true, sameText: true };
  assert.match(trainingText(compareTraining([2, 1], [2, 1], "d", "d"), both), /^2\/2 losses match, the weights are the same bit for bit$/);
  const lora = { ...both, method: "lora" };
  assert.match(trainingText(compareTraining([2, 1], [2, 1], "d", "d"), lora), /the adapters are the same bit for bit$/);
  assert.match(trainingText(compareTraining([2], [3], "d", "e"), { ...both, sameText: false }), /^0\/1 losses match, the weights differ, as the texts do$/);
  assert.match(trainingText(compareTraining([], [3, 1], null, "e"), { server: false, sameText: false }), /^2 steps in the browser, loss 3\.000 .* 1\.000/);
});
