import assert from "node:assert/strict";
import { test } from "node:test";
import { LEFT_OUT, leftOut } from "../../page/left-out.js";

test("what is left out becomes an option of engine.verify", () => {
  assert.deepEqual(leftOut("prompt", "Once\n"), { prompt: "Once\n" });
  assert.deepEqual(leftOut("data", '{"text":"a"}\n'), { data: '{"text":"a"}\n' });
  const messages = [{ role: "user", content: "Hi" }];
  assert.deepEqual(leftOut("messages", JSON.stringify(messages)), { messages });
  assert.deepEqual(leftOut("messages", JSON.stringify({ messages })), { messages });
  assert.throws(() => leftOut("messages", "Hi"), SyntaxError);
  for (const { forms } of Object.values(LEFT_OUT)) assert.ok(forms.length >= 2 && forms.every(({ text }) => text));
});
