// Receipts as files and as links. A link carries its receipt behind the #, which no browser sends to a server.

import { offer } from "./offer.js";
import { receiptBytes } from "./receipt-bytes.js";

/** Longer receipts have no link: not every program takes an address of any length. */
const MAX_LINK = 64_000;
/** More bytes than a receipt has; whatever is longer is not read to its end. */
export const MAX_BYTES = (32 << 20) + 1;

/**
 * The address that opens and verifies a receipt; null if it would be too long.
 * @param {string} receipt
 */
export function verifyLink(receipt) {
  if (receipt.length > MAX_LINK) return null;
  const text = btoa(String.fromCodePoint(...receiptBytes(receipt)));
  return `verify.html#r=${text.replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "")}`;
}

/**
 * The bytes of the receipt in the last part of an address; null if there is none. What is no base64 is taken as it is, so that
 * it has a verdict as well.
 * @param {string} hash
 */
export function linkedReceipt(hash) {
  const text = /^#r=(.*)$/s.exec(hash)?.[1];
  if (text === undefined) return null;
  try {
    return Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (character) => character.codePointAt(0));
  } catch {
    return receiptBytes(text);
  }
}

/**
 * Offers a receipt for download and for verifying; hides both where there is none.
 * @param {string} name the prefix of the ids of the two links
 * @param {string | null} receipt
 */
export function offerReceipt(name, receipt) {
  offer(name, receipt === null ? null : { receipt });
  const link = receipt === null ? null : verifyLink(receipt);
  const verify = document.getElementById(`${name}-verify`);
  verify.hidden = link === null;
  verify.href = link ?? "";
}
