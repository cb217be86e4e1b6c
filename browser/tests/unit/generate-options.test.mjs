import assert from "node:assert/strict";
import { test } from "node:test";
import { inspect } from "node:util";
import { generateSettings } from "../../page/generate-options.js";

test("what is not told has its default", () => {
  const penalties = { repetitionPenalty: 1, frequencyPenalty: 0, presencePenalty: 0 };
  const none = { biased: new Uint32Array(), biases: new Float64Array() };
  const sampling = { temperature: 0, topK: 0, topP: 1, minP: 0, ...penalties, ...none, seed: 0n };
  const expected = { prompt: "p", maxTokens: 25, stop: [], sampling, private: false };
  assert.deepEqual(generateSettings({ prompt: "p" }), expected);
});

test("what is told of the sampler stays, and a seed has 64 bits", () => {
  const { temperature, topK, seed } = generateSettings({ prompt: "p", temperature: 0.8, topK: 5, seed: 2n ** 64n - 1n }).sampling;
  assert.deepEqual([temperature, topK, seed], [0.8, 5, 2n ** 64n - 1n]);
});

test("a conversation is its roles and contents by turns", () => {
  const messages = [{ role: "system", content: "Be brief." }, { role: "user", content: "Hi" }];
  assert.deepEqual(generateSettings({ messages }).turns, ["system", "Be brief.", "user", "Hi"]);
  assert.equal("prompt" in generateSettings({ messages }), false);
});

test("stop is one string or several", () => {
  assert.deepEqual(generateSettings({ prompt: "p", stop: "\n" }).stop, ["\n"]);
  assert.deepEqual(generateSettings({ prompt: [1], stop: ["a", "b"] }).stop, ["a", "b"]);
});

test("a bias is given for each token", () => {
  const { sampling } = generateSettings({ prompt: "p", frequencyPenalty: -1, presencePenalty: 0.5, logitBias: { 50256: -100, 7: 2.5 } });
  assert.deepEqual([sampling.frequencyPenalty, sampling.presencePenalty], [-1, 0.5]);
  assert.deepEqual([sampling.biased, sampling.biases], [Uint32Array.of(7, 50256), Float64Array.of(2.5, -100)]);
});

test("a receipt is private where it is asked for", () => {
  assert.equal(generateSettings({ prompt: "p", private: true }).private, true);
});

for (const [options, words] of [
  [{}, /either prompt or messages/],
  [{ prompt: "p", messages: [] }, /either prompt or messages/],
  [{ messages: [] }, /messages is an array of/],
  [{ messages: [{ role: "user", content: 1 }] }, /messages is an array of/],
  [{ prompt: "p", stop: 1 }, /stop is a string or an array of strings, not 1/],
  [{ prompt: "p", stop: ["a", null] }, /stop is a string or an array of strings, not null/],
  [{ prompt: "p", maxTokens: 0 }, /maxTokens is an integer from 1 on, not 0/],
  [{ prompt: "p", private: 1 }, /private is true or false, not 1/],
  [{ prompt: "p", stops: "a" }, /no option stops/],
  [{ prompt: "p", top_k: 5 }, /no option top_k/],
  [{ prompt: "p", temperature: "1" }, /temperature is a number, not 1/],
  [{ prompt: "p", topK: 1.5 }, /topK is an integer from 0 on, not 1.5/],
  [{ prompt: "p", topK: -1 }, /topK is an integer from 0 on, not -1/],
  [{ prompt: "p", seed: -1 }, /seed is an integer from 0 on, .* not -1/],
  [{ prompt: "p", seed: 0.5 }, /seed is an integer from 0 on, .* not 0.5/],
  [{ prompt: "p", seed: 2n ** 64n }, /seed is an integer from 0 on, .* not 18446744073709551616/],
  [{ prompt: "p", frequencyPenalty: "1" }, /frequencyPenalty is a number, not 1/],
  [{ prompt: "p", logitBias: 5 }, /logitBias is an object, not 5/],
  [{ prompt: "p", logitBias: null }, /logitBias is an object, not null/],
  [{ prompt: "p", logitBias: { "-1": 1 } }, /logitBias: -1 is no token id/],
  [{ prompt: "p", logitBias: { "01": 1 } }, /logitBias: 01 is no token id/],
  [{ prompt: "p", logitBias: { 4294967296: 1 } }, /logitBias: 4294967296 is no token id/],
  [{ prompt: "p", logitBias: { 5: "1" } }, /the bias of token 5 is a number, not 1/],
]) {
  test(`${inspect(options)} is refused`, () => assert.throws(() => generateSettings(options), words));
}
