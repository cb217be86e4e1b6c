// A receipt as its bytes, in whatever form it came.

/**
 * The bytes of a receipt: canonical JSON as text or bytes, or the object that it stands for, whose keys are in order already.
 * @param {string | ArrayBuffer | ArrayBufferView | object} receipt
 * @returns {Uint8Array}
 */
export function receiptBytes(receipt) {
  if (receipt instanceof ArrayBuffer) return new Uint8Array(receipt);
  if (ArrayBuffer.isView(receipt)) return new Uint8Array(receipt.buffer, receipt.byteOffset, receipt.byteLength);
  if (typeof receipt === "string") return new TextEncoder().encode(receipt);
  if (receipt === null || typeof receipt !== "object") throw new TypeError("a receipt is its JSON, as text, bytes or object");
  return new TextEncoder().encode(JSON.stringify(receipt));
}
