import assert from "node:assert/strict";
import { test } from "node:test";
import { Training } from "../../page/train.js";
import { $, fakePage, settled } from "./fakes.mjs";

test("after a training in which the engine stopped the page can be asked again", async () => {
  fakePage();
  const log = [];
  const hooks = { busy() {}, regenerate() {}, weights() {}, memory() {}, log: (text) => log.push(text) };
  const training = new Training(hooks);
  const stopped = async () => {
    throw new Error("the worker failed");
  };
  training.ready({ adapterSha256: "a".repeat(64), info: {}, train: stopped, reset: stopped, exportAdapter: stopped }, false);
  $("training").dispatch("submit");
  assert.ok($("train").disabled);
  await settled();
  assert.equal($("train").disabled, false);
  assert.equal($("train-verdict").textContent, "Failed: browser: the worker failed");
  assert.ok(log.includes("The adapter is not offered: the worker failed"), log.join("\n"));
  assert.ok($("adapter-downloads").hidden);
});
