import assert from "node:assert/strict";
import { test } from "node:test";
import { $, fakePage, settled } from "./fakes.mjs";

// What Node may not have: the page asks whether it can be kept.
globalThis.navigator ??= {};
globalThis.isSecureContext = false;

test("a file that cannot be read, as a folder, is told, and gives up what was being read before", async () => {
  fakePage();
  globalThis.location = { hash: "" };
  await import("../../page/verify.js");
  const choose = (content) => Object.assign($("receipt-file"), { files: [{ slice: () => ({ arrayBuffer: () => content }) }] }).dispatch("change");
  let read;
  choose(new Promise((resolve) => (read = resolve)));
  assert.equal($("verify-verdict").dataset.state, "running");
  choose(Promise.reject(new Error("it is a folder")));
  await settled();
  read(new ArrayBuffer(1));
  await settled();
  assert.equal($("verify-verdict").dataset.state, "error");
  assert.deepEqual([$("failure").textContent, $("failure").hidden], ["it is a folder", false]);
});
