import assert from "node:assert/strict";
import { test } from "node:test";
import { showReceiptVerdict, showVerdict, verdictWords } from "../../page/verdict.js";
import { $, fakePage } from "./fakes.mjs";

test("a verdict is shown, and nothing stays of how the one before came out", () => {
  fakePage();
  showVerdict($("v"), "running", "Working");
  assert.deepEqual([$("v").textContent, $("v").ariaBusy], ["Working", true]);
  showVerdict($("v"), "done", "Equal", { outcome: "equal", total: 3 });
  assert.deepEqual([$("v").ariaBusy, $("v").dataset.outcome], [false, "equal"]);
  showVerdict($("v"), "error", "Failed");
  assert.deepEqual({ ...$("v").dataset }, { state: "error", outcome: "", verdict: "", step: "", total: 3 });
});

test("a receipt's verdict names the step and the reason", () => {
  fakePage();
  const result = { verdict: "MISMATCH", step: 3, why: "another token" };
  showReceiptVerdict("r", "done", verdictWords(result, "step"), result);
  const { textContent, dataset } = $("r-verdict");
  assert.deepEqual([textContent, dataset.verdict, dataset.step, $("r-why").textContent], ["MISMATCH at step 3", "MISMATCH", 3, "another token"]);
  assert.match(verdictWords({ verdict: "MATCH", step: null }, "step"), /^MATCH: /);
  showReceiptVerdict("r", "running", "Again");
  assert.deepEqual([$("r-verdict").dataset.verdict, $("r-verdict").dataset.step, $("r-why").textContent], ["", "", ""]);
});
