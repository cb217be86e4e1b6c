import assert from "node:assert/strict";
import { test } from "node:test";
import { defaultLearningRate, trainSettings } from "../../page/train-options.js";

test("what is not told has its default", () => {
  const { steps, settings } = trainSettings({ text: "t" });
  assert.equal(steps, 5);
  assert.deepEqual(settings, { text: "t", messages: [], learningRate: defaultLearningRate("full", "sgd"), optimizer: "sgd", adapter: null, private: false });
  const lora = trainSettings({ text: "t", method: "lora", optimizer: "adamw" }).settings;
  assert.deepEqual(lora.adapter, { rank: undefined, alpha: undefined, targets: [], seed: 0 });
  assert.equal(lora.learningRate, defaultLearningRate("lora", "adamw"));
  const rates = ["full", "lora"].flatMap((method) => ["sgd", "adamw"].map((optimizer) => defaultLearningRate(method, optimizer)));
  for (const rate of rates) assert.ok(rate > 0 && rate < 1);
});

test("what is told is passed on", () => {
  const adapter = { rank: 4, alpha: 32, targets: ["q_proj"], seed: 2 ** 53 - 1 };
  const { steps, settings } = trainSettings({ text: "", steps: 7, learningRate: 2, optimizer: "adamw", method: "lora", private: true, ...adapter });
  assert.deepEqual([steps, settings], [7, { text: "", messages: [], learningRate: 2, optimizer: "adamw", adapter, private: true }]);
});

test("a conversation is its roles and contents by turns", () => {
  const messages = [{ role: "user", content: "a" }, { role: "assistant", content: "b" }];
  const { settings } = trainSettings({ messages });
  assert.deepEqual([settings.text, settings.messages], [undefined, ["user", "a", "assistant", "b"]]);
});

for (const [options, words] of [
  [{}, /either text or messages/],
  [{ text: "t", messages: [] }, /either text or messages/],
  [{ text: 3 }, /text is a string, not 3/],
  [{ messages: [] }, /messages is an array of/],
  [{ messages: "hello" }, /messages is an array of/],
  [{ messages: [{ role: "user" }] }, /messages is an array of/],
  [{ messages: [null] }, /messages is an array of/],
  [{ text: "t", steps: 0 }, /steps is an integer from 1 on, not 0/],
  [{ text: "t", learningRate: 0 }, /learningRate is a positive number, not 0/],
  [{ text: "t", learningRate: NaN }, /not NaN/],
  [{ text: "t", private: 1 }, /private is true or false, not 1/],
  [{ text: "t", learningRate: "0.1" }, /not "0.1"/],
  [{ text: "t", optimizer: "adam" }, /optimizer is "sgd" or "adamw", not "adam"/],
  [{ text: "t", method: "qlora" }, /method is "full" or "lora", not "qlora"/],
  [{ text: "t", rank: 8, seed: 1 }, /rank, seed: only for method "lora"/],
  [{ text: "t", method: "lora", rank: 1.5 }, /rank is an integer from 1 on, not 1.5/],
  [{ text: "t", method: "lora", rank: 2 ** 32 + 1 }, /rank is an integer/],
  [{ text: "t", method: "lora", alpha: -1 }, /alpha is a positive number, not -1/],
  [{ text: "t", method: "lora", alpha: {} }, /not an object/],
  [{ text: "t", method: "lora", targets: [] }, /targets is an array of layer names/],
  [{ text: "t", method: "lora", targets: "q_proj" }, /targets is an array of layer names/],
  [{ text: "t", method: "lora", seed: -1 }, /seed is an integer from 0 to 9007199254740991, not -1/],
  [{ text: "t", method: "lora", seed: 2 ** 53 }, /seed is an integer/],
]) {
  test(`${JSON.stringify(options)} is refused`, () => assert.throws(() => trainSettings(options), words));
}
