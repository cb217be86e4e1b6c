// One file from the network, through cut connections.

const ATTEMPTS = 5;

/** The network or the server failed for good. (Content that arrives but is wrong is found elsewhere.) */
export class DownloadError extends Error {
  name = "DownloadError";
}

/**
 * The bytes of a file from `offset` on, in chunks as they arrive. A connection that breaks is resumed where it broke
 * (`Range`), unless five attempts in a row bring no byte; a server that ignores `Range` sends everything again, and the known
 * part is skipped.
 *
 * @param {object} options
 * @param {string} options.url
 * @param {number} options.size the file's size as the manifest tells it
 * @param {number} options.offset where to begin
 * @param {RequestCache} [options.httpCache]
 * @param {typeof globalThis.fetch} [options.fetch]
 * @param {(attempt: number) => Promise<void>} [options.pause] before another attempt
 * @returns {AsyncGenerator<Uint8Array>}
 */
export async function* download({ url, size, offset, httpCache = "default", fetch = globalThis.fetch, pause = backOff }) {
  for (let attempt = 1; offset < size; attempt++) {
    let lost = "the connection was closed";
    let reader;
    try {
      const headers = offset > 0 ? { Range: `bytes=${offset}-` } : {};
      const response = await fetch(url, { headers, cache: httpCache });
      let skip = offset - firstByte(response, url, size, offset);
      reader = response.body.getReader();
      for (let next; !(next = await reader.read()).done; ) {
        const known = Math.min(skip, next.value.length);
        const chunk = next.value.subarray(known);
        skip -= known;
        offset += chunk.length;
        if (offset > size) throw new DownloadError(`${url}: the server sends more than the ${size} bytes of the manifest`);
        if (chunk.length > 0) {
          attempt = 0;
          yield chunk;
        }
      }
    } catch (error) {
      if (error instanceof DownloadError) throw error;
      lost = error.message;
    } finally {
      await reader?.cancel().catch(() => {});
    }
    if (offset === size) return;
    if (attempt === ATTEMPTS) {
      throw new DownloadError(`${url}: stopped at byte ${offset} of ${size}, ${ATTEMPTS} attempts without progress: ${lost}`);
    }
    await pause(attempt);
  }
}

/** Where in the file the answer begins; refuses answers that no further attempt would better. */
function firstByte({ status, headers }, url, size, offset) {
  const contentRange = headers.get("content-range") ?? "";
  const range = /^bytes (\d+)-\d+\/(\d+|\*)$/.exec(contentRange);
  if (status === 206 && range && Number(range[1]) === offset && (range[2] === "*" || Number(range[2]) === size)) return offset;
  if (status === 206) {
    throw new DownloadError(`${url}: asked for bytes ${offset}- of ${size}, the server answered "${contentRange}"`);
  }
  if (status >= 500 || status === 429 || status === 408) throw new Error(`the server answered ${status}`);
  if (status !== 200) throw new DownloadError(`${url}: the server answered ${status}`);
  const length = headers.get("content-length");
  if (length !== null && !headers.has("content-encoding") && Number(length) !== size) {
    throw new DownloadError(`${url} has ${length} bytes, the manifest says ${size}: the files on the server do not belong together`);
  }
  return 0;
}

function backOff(attempt) {
  return new Promise((resolve) => setTimeout(resolve, 250 * 2 ** attempt));
}
