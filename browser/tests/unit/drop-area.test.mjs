import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { takeFiles } from "../../page/drop-area.js";
import { $, fakePage } from "./fakes.mjs";

let window;
let taken;

beforeEach(() => {
  window = fakePage();
  taken = [];
  takeFiles($("area"), $("input"), (files) => taken.push(files));
});

/** Something that is dragged over the page, or dropped on it. */
const carrying = (types, files = []) => ({ dataTransfer: { types, files } });
const dragged = () => "dragged" in $("area").dataset;

test("files are taken from the field, which can be asked for the same ones again", () => {
  Object.assign($("input"), { files: ["a", "b"], value: "a" }).dispatch("change");
  assert.deepEqual(taken, [["a", "b"]]);
  assert.equal($("input").value, "");
});

test("files that are dropped anywhere are taken, and the area shows when they may be", () => {
  const { defaultPrevented, dataTransfer } = window.dispatch("dragover", carrying(["Files"]));
  assert.deepEqual([defaultPrevented, dataTransfer.dropEffect, dragged()], [true, "copy", true]);
  window.dispatch("dragleave", { relatedTarget: $("another element") });
  assert.ok(dragged(), "they are still over the page");
  window.dispatch("dragleave", { relatedTarget: null });
  assert.ok(!dragged());
  window.dispatch("dragover", carrying(["Files"]));
  assert.ok(window.dispatch("drop", carrying(["Files"], ["a"])).defaultPrevented);
  assert.deepEqual([taken, dragged()], [[["a"]], false]);
});

test("a disabled field takes none, and they do not replace the page", () => {
  $("input").disabled = true;
  assert.equal(window.dispatch("dragover", carrying(["Files"])).dataTransfer.dropEffect, "none");
  assert.ok(window.dispatch("drop", carrying(["Files"], ["a"])).defaultPrevented);
  assert.deepEqual([taken, dragged()], [[], false]);
});

test("a text that is dragged into another field is not its business", () => {
  for (const type of ["dragover", "drop"]) assert.ok(!window.dispatch(type, carrying(["text/plain"])).defaultPrevented);
  assert.deepEqual([taken, dragged()], [[], false]);
});
