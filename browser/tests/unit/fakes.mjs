// Stand-ins for what a browser has and node has not.

/** An element, as far as the page's modules need it. */
class FakeElement extends EventTarget {
  value = "";
  textContent = "";
  dataset = {};
  children = [];
  attributes = {};

  setAttribute(name, value) {
    this.attributes[name] = value;
  }

  append(...children) {
    this.children.push(...children);
  }

  replaceChildren(...children) {
    this.children = children;
  }

  dispatch(type, more = {}) {
    const event = Object.assign(new Event(type, { cancelable: true }), more);
    this.dispatchEvent(event);
    return event;
  }
}

/**
 * Makes an empty page, whose elements are there as soon as they are asked for.
 * @returns {FakeElement} the window, which hears what happens anywhere
 */
export function fakePage() {
  const elements = new Map();
  const window = new FakeElement();
  globalThis.addEventListener = window.addEventListener.bind(window);
  globalThis.ResizeObserver = class {
    observe() {}
  };
  globalThis.document = {
    body: new FakeElement(),
    createElement: () => new FakeElement(),
    createElementNS: () => new FakeElement(),
    getElementById(id) {
      if (!elements.has(id)) elements.set(id, new FakeElement());
      return elements.get(id);
    },
  };
  return window;
}

/** An element of this page. */
export const $ = (id) => document.getElementById(id);

/** Waits until all that is under way without a network has happened. */
export const settled = () => new Promise((resolve) => setImmediate(resolve));

/** The Cache API in memory; when `full`, nothing more can be put. */
export class FakeCaches {
  caches = new Map();
  full = () => false;

  async open(name) {
    if (!this.caches.has(name)) this.caches.set(name, new FakeCache(this));
    return this.caches.get(name);
  }
}

class FakeCache {
  entries = new Map();

  constructor(owner) {
    this.owner = owner;
  }

  async match(url) {
    const bytes = this.entries.get(urlOf(url));
    return bytes && new Response(bytes);
  }

  async put(url, response) {
    if (this.owner.full()) throw Object.assign(new Error("no room"), { name: "QuotaExceededError" });
    this.entries.set(urlOf(url), new Uint8Array(await response.arrayBuffer()));
  }

  async delete(url) {
    return this.entries.delete(urlOf(url));
  }

  async keys() {
    return [...this.entries.keys()].map((url) => ({ url }));
  }
}

function urlOf(request) {
  return typeof request === "string" ? request : request.url;
}

/** A body that sends `bytes` in chunks and then closes, or breaks with `error`. */
export function body(bytes, { chunk = 7, error = null } = {}) {
  let at = 0;
  return new ReadableStream({
    pull(controller) {
      if (at < bytes.length) controller.enqueue(bytes.slice(at, (at += chunk)));
      else if (error) controller.error(error);
      else controller.close();
    },
  });
}

/** `size` bytes that differ. */
export function bytesOf(size, seed = 1) {
  return Uint8Array.from({ length: size }, (_, i) => (i * 31 + seed * 17) & 255);
}

/** A server of files that honours ranges; `answers` may replace an answer, in the order of the requests. */
export class FakeServer {
  requests = [];
  answers = [];

  constructor(files) {
    this.files = files;
    this.fetch = async (url, { headers = {} } = {}) => {
      const range = /^bytes=(\d+)-$/.exec(headers.Range ?? "");
      const offset = range ? Number(range[1]) : 0;
      this.requests.push(`${url} ${offset}`);
      const answer = this.answers.shift();
      if (answer) return answer(offset);
      const bytes = this.files[url];
      if (!bytes) return new Response("not here", { status: 404 });
      return partial(bytes, offset);
    };
  }
}

/** The answer of a server that honours ranges, optionally cut after some bytes. */
export function partial(bytes, offset, { cutAfter = Infinity } = {}) {
  const cut = offset + cutAfter < bytes.length;
  const stream = body(bytes.slice(offset, cut ? offset + cutAfter : undefined), { error: cut ? new TypeError("network error") : null });
  const headers = { "content-length": `${bytes.length - offset}` };
  if (offset > 0) headers["content-range"] = `bytes ${offset}-${bytes.length - 1}/${bytes.length}`;
  return new Response(stream, { status: offset > 0 ? 206 : 200, headers });
}
