import assert from "node:assert/strict";
import { test } from "node:test";
import { receiptBytes } from "../../page/receipt-bytes.js";
import { linkedReceipt, verifyLink } from "../../page/receipt-link.js";

const decode = (bytes) => new TextDecoder().decode(bytes);

test("a receipt goes into a link and comes out of it", () => {
  for (const receipt of ["{}", '{"a":"é?>~"}', "x".repeat(1000)]) {
    const link = verifyLink(receipt);
    assert.match(link, /^verify\.html#r=[A-Za-z0-9_-]+$/);
    assert.equal(decode(linkedReceipt(new URL(link, "http://host/web/").hash)), receipt);
  }
});

test("a long receipt has no link", () => {
  assert.notEqual(verifyLink("x".repeat(64_000)), null);
  assert.equal(verifyLink("x".repeat(64_001)), null);
});

test("an address without a receipt has none, and one with a damaged receipt has what is there", () => {
  for (const hash of ["", "#", "#x", "#receipt"]) assert.equal(linkedReceipt(hash), null);
  assert.equal(decode(linkedReceipt("#r=%%%")), "%%%");
  assert.equal(decode(linkedReceipt("#r=")), "");
});

test("an object's receipt is its JSON, as it stands", () => {
  assert.equal(decode(receiptBytes({ a: [1, "x"], b: 2 })), '{"a":[1,"x"],"b":2}');
  assert.deepEqual(receiptBytes(new Uint8Array([1, 2, 3]).subarray(1)), new Uint8Array([2, 3]));
  for (const wrong of [null, undefined, 5]) assert.throws(() => receiptBytes(wrong), TypeError);
});
