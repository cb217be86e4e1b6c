import assert from "node:assert/strict";
import { test } from "node:test";
import { askForKey, authorization } from "../../page/key.js";
import { fakePage, settled } from "./fakes.mjs";

test("the dialog has a name, and stays until there is a key", async () => {
  fakePage();
  let shown = 0;
  const { createElement } = document;
  document.createElement = (name) => {
    const element = createElement(name);
    if (name === "dialog") Object.assign(element, { showModal: () => shown++, isConnected: true, remove: () => (element.isConnected = false) });
    return element;
  };
  const asking = askForKey();
  const [dialog] = document.body.children;
  const [form] = dialog.children;
  const [label, field] = form.children;
  assert.equal(dialog.attributes["aria-labelledby"], label.id);
  assert.match(label.textContent, /wants a key/);
  dialog.dispatch("close"); // as by Escape
  assert.equal(shown, 2);
  field.value = "key";
  form.dispatch("submit");
  await asking;
  dialog.dispatch("close"); // as by the form
  await settled();
  assert.equal(shown, 2);
  assert.deepEqual(authorization(), { Authorization: "Bearer key" });
});
