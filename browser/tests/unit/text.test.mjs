// What models and servers say reaches the page as text: nothing there makes elements, or code, of a text.

import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { test } from "node:test";

const PAGE = new URL("../../page/", import.meta.url);
const FORBIDDEN = /\b(innerHTML|outerHTML|insertAdjacentHTML|setHTMLUnsafe|createContextualFragment|DOMParser|srcdoc|document\.write|eval|new Function)\b/;
/** No handler or style in an attribute, no script in a page: the policy that the server sends would stop them. */
const INLINE = /\son[a-z]+=|\sstyle=|<style|<script(?![^>]*\ssrc=)|javascript:/i;

const files = (end) => readdirSync(PAGE).filter((name) => name.endsWith(end)).map((name) => [name, readFileSync(new URL(name, PAGE), "utf8")]);

test("no module makes elements or code of a text", () => {
  const modules = files(".js");
  assert.ok(modules.length > 25);
  for (const [name, text] of modules) assert.doesNotMatch(text, FORBIDDEN, name);
});

test("no page has a script, a style or a handler in it", () => {
  const pages = files(".html");
  assert.ok(pages.length >= 3);
  for (const [name, text] of pages) assert.doesNotMatch(text, INLINE, name);
});
