import assert from "node:assert/strict";
import { test } from "node:test";
import { Speed, chipParts, counted, formatBytes, formatSeconds, shortDigest, speedText } from "../../page/format.js";

test("bytes are shown in decimal units", () => {
  assert.equal(formatBytes(0), "0 B");
  assert.equal(formatBytes(861), "861 B");
  assert.equal(formatBytes(999_499), "999 kB");
  assert.equal(formatBytes(999_600), "1.0 MB");
  assert.equal(formatBytes(2_104_556), "2.1 MB");
  assert.equal(formatBytes(269_060_552), "269 MB");
  assert.equal(formatBytes(4_294_967_296), "4.3 GB");
});

test("seconds are rounded up", () => {
  assert.equal(formatSeconds(0.2), "1 s");
  assert.equal(formatSeconds(89.5), "90 s");
  assert.equal(formatSeconds(91), "2 min");
});

test("speed counts from the first measurement and waits for a second", () => {
  const speed = new Speed();
  assert.equal(speed.measure(1000, 5000), null);
  assert.equal(speed.measure(1500, 5900), null);
  assert.equal(speed.measure(4000, 7000), 1500);
});

test("a text came at a rate, and its first token after a time", () => {
  assert.equal(speedText({ tokens: 1, firstMs: 48.4, restMs: 0 }), "first token after 48 ms");
  assert.equal(speedText({ tokens: 26, firstMs: 999.4, restMs: 500 }), "50.0 tokens/s, first token after 999 ms");
  assert.equal(speedText({ tokens: 3, firstMs: 999.5, restMs: 3000 }), "0.7 tokens/s, first token after 1.00 s");
});

test("one is counted as one", () => {
  assert.deepEqual([0, 1, 2].map((count) => counted(count, "step")), ["0 steps", "1 step", "2 steps"]);
});

test("a digest is shortened", () => {
  assert.equal(shortDigest("0123456789abcdef"), "0123456789ab");
});

test("what cannot be seen is marked", () => {
  const shown = (text, last = false) => chipParts(text, last).map(({ text, mark }) => (mark ? `<${text}>` : text)).join("");
  assert.equal(shown(" time"), "<·>time");
  assert.equal(shown("\n\n"), "<↵↵>");
  assert.equal(shown("a\tb\0"), "a<→>b<␀>");
  assert.equal(shown("\u00a0"), "<U+00A0>");
  assert.equal(shown("<b>"), "<b>");
  assert.equal(shown("·"), "·");
  assert.equal(shown(""), "<…>");
  assert.equal(shown("", true), "<end>");
});
