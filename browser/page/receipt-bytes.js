// A receipt as its bytes, in whatever form it came.

/**
 * The bytes of a receipt: canonical JSON as text or bytes, or the object that it stands for, whose keys are in order already.
 * @param {string | ArrayBuffer | ArrayBufferView | object} receipt
 * @returns {Uint8Array}
 */
export function receiptBytes(receipt) {
  const bytes = bytesIn(receipt);
  if (bytes) return bytes;
  if (typeof receipt === "string") return new TextEncoder().encode(receipt);
  if (receipt === null || typeof receipt !== "object") throw new TypeError("a receipt is its JSON, as text, bytes or object");
  return new TextEncoder().encode(JSON.stringify(receipt));
}

/**
 * The bytes that a buffer holds or a view shows; null of anything else.
 * @param {unknown} value
 * @returns {Uint8Array | null}
 */
export function bytesIn(value) {
  if (value instanceof ArrayBuffer) return new Uint8Array(value);
  return ArrayBuffer.isView(value) ? new Uint8Array(value.buffer, value.byteOffset, value.byteLength) : null;
}
