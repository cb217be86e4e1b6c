import assert from "node:assert/strict";
import { resolveObjectURL } from "node:buffer";
import { test } from "node:test";
import { offer } from "../../page/offer.js";
import { offerReceipt } from "../../page/receipt-link.js";
import { $, fakePage } from "./fakes.mjs";

const offered = (id) => resolveObjectURL($(id).href)?.text();

test("files are offered until others, or none, take their place", async () => {
  fakePage();
  offer("mine", { config: "{}", weights: new Uint8Array([65]) });
  assert.deepEqual([await offered("mine-config"), await offered("mine-weights"), $("mine-downloads").hidden], ["{}", "A", false]);
  const before = $("mine-config").href;
  offer("mine", { config: "[]" });
  assert.deepEqual([resolveObjectURL(before), await offered("mine-config")], [undefined, "[]"]);
  offer("mine", null);
  assert.deepEqual([await offered("mine-config"), $("mine-downloads").hidden], [undefined, true]);
});

test("a receipt is offered as a file, and as a link unless it is too long", async () => {
  fakePage();
  offerReceipt("run", "{}");
  assert.deepEqual([await offered("run-receipt"), $("run-verify").hidden], ["{}", false]);
  assert.match($("run-verify").href, /^verify\.html#r=/);
  offerReceipt("run", "x".repeat(64_001));
  assert.deepEqual([$("run-downloads").hidden, $("run-verify").hidden], [false, true]);
  offerReceipt("run", null);
  assert.ok($("run-downloads").hidden);
});
