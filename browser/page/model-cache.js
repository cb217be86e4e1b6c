// Model files kept in the browser, so that a reload fetches nothing and the page works offline.
//
// The Cache API, not the origin's private file system: it exists in every engine, its entries are not exclusive (two tabs
// may write the same one), and an entry is either whole or absent. A file is kept in pieces named by the SHA-256 of the
// whole file, therefore a new version of a model never meets the pieces of an old one, and an interrupted download goes on
// where it stopped. Nothing is believed: what comes from here is hashed like what comes from the network.

const CACHE_NAME = "lockstep-model";

/** Bytes of one piece: small enough to be copied on the side, large enough that 269 MB are few entries. */
const PIECE_BYTES = 8 * 1024 * 1024;

/** @typedef {{name: string, size: number, sha256: string}} ModelFile as in `manifest.json` */

export class ModelCache {
  #cache;
  #pieceBytes;

  /** Why nothing is kept here, or null where the cache works. @type {string | null} */
  unavailable;

  /** Opens the cache; where there is none, an empty one that keeps nothing and says why. */
  static async open({ storage = globalThis.caches, pieceBytes = PIECE_BYTES } = {}) {
    if (!storage) {
      const reason = globalThis.isSecureContext === false ? "this address is not a secure context (https or localhost)" : "this browser has no Cache API";
      return new ModelCache(null, pieceBytes, reason);
    }
    try {
      return new ModelCache(await storage.open(CACHE_NAME), pieceBytes, null);
    } catch (error) {
      return new ModelCache(null, pieceBytes, error.message);
    }
  }

  constructor(cache, pieceBytes, unavailable) {
    this.#cache = cache;
    this.#pieceBytes = pieceBytes;
    this.unavailable = unavailable;
  }

  /** The pieces of a file as ranges of bytes, in order. @param {ModelFile} file */
  *pieces(file) {
    for (let start = 0; start < file.size; start += this.#pieceBytes) {
      yield { start, end: Math.min(start + this.#pieceBytes, file.size) };
    }
  }

  /** One piece, or undefined. @param {ModelFile} file @returns {Promise<Response | undefined>} */
  async match(file, piece) {
    return this.#cache?.match(pieceUrl(file, piece));
  }

  /** Keeps one piece. After a failure (storage is full) nothing more is kept. @param {Uint8Array} bytes */
  async put(file, piece, bytes) {
    if (this.unavailable !== null) return;
    try {
      await this.#cache.put(pieceUrl(file, piece), new Response(bytes));
    } catch (error) {
      this.unavailable = error.name === "QuotaExceededError" ? "the browser's storage is full" : error.message;
    }
  }

  /** Bytes of a file's pieces that are here. @param {ModelFile} file */
  async bytesOf(file) {
    let bytes = 0;
    for (const piece of this.pieces(file)) {
      if (await this.match(file, piece)) bytes += piece.end - piece.start;
    }
    return bytes;
  }

  /** Forgets a file. @param {ModelFile} file */
  async evict(file) {
    for (const piece of this.pieces(file)) await this.#cache?.delete(pieceUrl(file, piece));
  }

  /** Keeps the manifest for the next visit without a network. @param {string} url @param {Uint8Array} bytes */
  async putManifest(url, bytes) {
    await this.#cache?.put(url, new Response(bytes)).catch(() => {});
  }

  /** The manifest of the last visit, or undefined. @param {string} url @returns {Promise<Response | undefined>} */
  async matchManifest(url) {
    return this.#cache?.match(url);
  }

  /** Bytes of all pieces of all models. */
  async size() {
    const requests = (await this.#cache?.keys()) ?? [];
    return requests.reduce((sum, { url }) => sum + pieceBytesOf(url), 0);
  }

  /** Forgets everything. */
  async clear() {
    for (const request of (await this.#cache?.keys()) ?? []) await this.#cache.delete(request);
  }
}

// Entries need addresses; these are never fetched.
function pieceUrl(file, { start, end }) {
  return new URL(`/lockstep-model/${file.sha256}/${start}-${end}`, globalThis.location?.href ?? "http://localhost/").href;
}

function pieceBytesOf(url) {
  const range = /\/lockstep-model\/[0-9a-f]{64}\/(\d+)-(\d+)$/.exec(url);
  return range ? Number(range[2]) - Number(range[1]) : 0;
}
