import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { PromptField } from "../../page/prompt-field.js";
import { $, fakePage } from "./fakes.mjs";

beforeEach(() => {
  fakePage();
  Object.assign($("prompt"), { value: "Once upon a time" });
  Object.assign($("max-tokens"), { value: "25" });
});

const examples = () => $("examples").children;

test("a prompt is continued, a message answered; empty ones stand for the defaults", () => {
  const field = new PromptField(() => undefined);
  assert.deepEqual(field.request(), { text: "Once upon a time", chat: false, asked: { prompt: "Once upon a time" }, maxTokens: 25 });
  $("prompt").value = "";
  assert.deepEqual(field.request().asked, { prompt: "Once upon a time" });
  $("mode-chat").dispatch("change");
  assert.equal($("prompt-label").textContent, "Message");
  $("prompt").value = "Hi";
  $("max-tokens").value = "7";
  assert.deepEqual(field.request(), { text: "Hi", chat: true, asked: { messages: [{ role: "user", content: "Hi" }] }, maxTokens: 7 });
  $("prompt").value = "";
  assert.deepEqual(field.request().asked, { messages: [{ role: "user", content: $("prompt").placeholder }] });
});

test("each mode keeps what was in its fields", () => {
  new PromptField(() => undefined);
  $("prompt").value = "raw text";
  $("mode-chat").dispatch("change");
  assert.notEqual($("prompt").value, "raw text");
  $("prompt").value = "a message";
  $("max-tokens").value = "7";
  $("mode-chat").dispatch("change"); // pressed already
  $("mode-raw").dispatch("change");
  assert.deepEqual([$("prompt").value, $("max-tokens").value, $("prompt-label").textContent], ["raw text", "25", "Prompt"]);
  $("mode-chat").dispatch("change");
  assert.deepEqual([$("prompt").value, $("max-tokens").value], ["a message", "7"]);
});

test("examples are those of the mode, and one that was recorded brings its number of tokens", () => {
  const field = new PromptField((prompt) => (prompt === "b" ? { max_tokens: 9 } : undefined));
  field.examples(["a", "b"]);
  assert.deepEqual(examples().map(({ textContent }) => textContent), ["a", "b"]);
  examples()[0].dispatch("click");
  assert.deepEqual([$("prompt").value, $("max-tokens").value], ["a", "25"]);
  examples()[1].dispatch("click");
  assert.deepEqual([$("prompt").value, $("max-tokens").value], ["b", 9]);
  $("mode-chat").dispatch("change");
  assert.ok(examples().length > 0 && examples().every(({ textContent }) => !["a", "b"].includes(textContent)));
  examples()[0].dispatch("click");
  assert.equal(field.request().asked.messages[0].content, examples()[0].textContent);
});
