// Numbers and token text as people read them.

/** Bytes in decimal units: 269060552 is "269 MB". @param {number} bytes */
export function formatBytes(bytes) {
  const units = ["B", "kB", "MB", "GB"];
  let unit = 0;
  while (bytes >= 999.5 && unit < units.length - 1) {
    bytes /= 1000;
    unit++;
  }
  return `${unit === 0 || bytes >= 99.95 ? Math.round(bytes) : bytes.toFixed(1)} ${units[unit]}`;
}

/** @param {number} seconds */
export function formatSeconds(seconds) {
  return seconds < 90 ? `${Math.ceil(seconds)} s` : `${Math.ceil(seconds / 60)} min`;
}

/** Bytes a second since the first measurement; null until there is a second to judge by. */
export class Speed {
  #start = null;

  /** @param {number} bytes how far it is @returns {number | null} */
  measure(bytes, now = performance.now()) {
    this.#start ??= { bytes, now };
    const seconds = (now - this.#start.now) / 1000;
    return seconds < 1 ? null : (bytes - this.#start.bytes) / seconds;
  }
}

/**
 * How fast a text came: how long until its first token, and at which rate the others followed.
 * @param {{tokens: number, firstMs: number, restMs: number}} times milliseconds until the first token, and from there to the last
 */
export function speedText({ tokens, firstMs, restMs }) {
  const time = firstMs < 999.5 ? `${Math.round(firstMs)} ms` : `${(firstMs / 1000).toFixed(2)} s`;
  const first = `first token after ${time}`;
  return tokens > 1 ? `${((1000 * (tokens - 1)) / restMs).toFixed(1)} tokens/s, ${first}` : first;
}

/** The first digits of a digest. @param {string} digest */
export function shortDigest(digest) {
  return digest.slice(0, 12);
}

/**
 * A token's text cut into what is shown as it is and marks for what cannot be seen.
 * @param {string} text
 * @param {boolean} last whether it is the token that ended the text
 * @returns {{text: string, mark: boolean}[]}
 */
export function chipParts(text, last) {
  // The end-of-text token has no text; any other token without text is part of a character that a later one completes.
  if (text === "") return [{ text: last ? "end" : "…", mark: true }];
  return text
    .split(/([\s\p{Cc}\p{Cf}]+)/u)
    .map((part, i) => (i % 2 ? { text: [...part].map(markOf).join(""), mark: true } : { text: part, mark: false }))
    .filter((part) => part.text !== "");
}

function markOf(character) {
  const code = character.codePointAt(0);
  if (character === " ") return "·";
  if (character === "\n") return "↵";
  if (character === "\t") return "→";
  if (code < 0x20) return String.fromCodePoint(0x2400 + code); // the Control Pictures block
  return `U+${code.toString(16).toUpperCase().padStart(4, "0")}`;
}

/** So many of something: "1 step", "2 steps". */
export function counted(count, what) {
  return `${count} ${what}${count === 1 ? "" : "s"}`;
}
