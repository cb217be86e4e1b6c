import assert from "node:assert/strict";
import { test } from "node:test";
import { generateSettings } from "../../page/generate-options.js";

test("what is not told has its default", () => {
  const sampling = { temperature: 0, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, seed: 0n };
  assert.deepEqual(generateSettings({ prompt: "p" }), { prompt: "p", maxTokens: 25, stop: [], sampling, private: false });
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
]) {
  test(`${JSON.stringify(options)} is refused`, () => assert.throws(() => generateSettings(options), words));
}
