// The servers of the tests: lockstep itself, a proxy in front of it, and a plain static server.

import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { createServer, request as httpRequest } from "node:http";
import { extname, join, normalize } from "node:path";
import { Transform, pipeline } from "node:stream";
import { start, stop } from "./children.mjs";
import { until } from "./until.mjs";

const TYPES = {
  ".html": "text/html; charset=utf-8", ".js": "text/javascript", ".mjs": "text/javascript", ".css": "text/css", ".json": "application/json",
  ".svg": "image/svg+xml", ".wasm": "application/wasm",
};

/** What `tools test` sets. */
export function setting(name) {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set; run these tests by "cargo run --release -p tools -- test"`);
  return value;
}

/** Starts `lockstep serve` on a free port, with these flags. @param {...string} flags @returns {Promise<{url: string, stop: () => Promise<void>, said: () => string}>} */
export async function startLockstep(...flags) {
  const child = start(setting("LOCKSTEP_E2E_SERVER"), [
    ...["serve", "--port", "0"],
    ...["--model", setting("LOCKSTEP_E2E_MODEL"), "--web-root", setting("LOCKSTEP_E2E_WEB_ROOT")],
    ...flags,
  ]);
  return { url: await addressOf(child, "lockstep"), said: child.said, stop: () => stop(child, "SIGINT") };
}

/** Waits for the address that a server says. @param {ReturnType<start>} child @param {string} name what it is called in errors */
export function addressOf(child, name) {
  const address = () => {
    if (child.exitCode !== null) throw new Error(`${name} ended: ${child.said()}`);
    return child.said().match(/http:\/\/127\.0\.0\.1:\d+/)?.[0];
  };
  return until(`${name} says its address`, address, 60, child.said);
}

/** A proxy in front of another server: see `listen`. */
export function startProxy(target) {
  return listen((request, response, passOn) => {
    const forward = httpRequest(new URL(request.url, target), { method: request.method, headers: request.headers });
    forward.on("response", (answer) => {
      response.writeHead(answer.statusCode, answer.headers);
      passOn(answer, Number(answer.headers["content-range"]?.match(/bytes (\d+)/)?.[1] ?? 0));
    });
    forward.on("error", () => response.destroy());
    response.on("close", () => forward.destroy());
    request.pipe(forward);
  });
}

/** A static server as plain as they come: no ranges, no headers but the type, and those given. */
export function startStatic(folder, headers = {}) {
  return listen(async (request, response, passOn) => {
    let path = join(folder, normalize(decodeURIComponent(new URL(request.url, "http://x").pathname)));
    const found = await stat(path).catch(() => null);
    if (found?.isDirectory()) path = join(path, "index.html");
    if (!(await stat(path).catch(() => null))?.isFile()) {
      response.writeHead(404, { "content-type": "text/html" }).end("<h1>404 Not Found</h1>");
      return;
    }
    response.writeHead(200, { "content-type": TYPES[extname(path)] ?? "application/octet-stream", ...headers });
    passOn(createReadStream(path), 0);
  });
}

/**
 * A server that keeps what it is asked, counts what it sends and, where told to, changes one byte of it.
 *
 * `asked()` are the requests so far, each with address, headers and body; `bytesOf(pattern)` are the body bytes sent so far for the paths that match; `corrupt = { path, at }` flips a bit of
 * the byte at that offset in the files whose path matches.
 */
async function listen(answer) {
  const sent = [];
  const face = { corrupt: null };
  const server = createServer((request, response) => {
    const entry = { path: request.url.replace(/\?.*/, ""), bytes: 0, asked: `${request.url}\n${request.rawHeaders.join("\n")}\n` };
    sent.push(entry);
    request.on("data", (chunk) => (entry.asked += chunk));
    const passOn = (body, offset) => {
      let at = offset;
      const watch = new Transform({
        transform(chunk, _, done) {
          const { corrupt } = face;
          const index = corrupt?.path.test(entry.path) ? corrupt.at - at : -1;
          if (index >= 0 && index < chunk.length) chunk[index] ^= 1;
          at += chunk.length;
          entry.bytes += chunk.length;
          done(null, chunk);
        },
      });
      pipeline(body, watch, response, () => {}); // a client that goes away ends it, which is no failure here
    };
    answer(request, response, passOn);
  });
  await new Promise((resolve, reject) => server.on("error", reject).listen(0, "127.0.0.1", resolve));
  return Object.assign(face, {
    url: `http://127.0.0.1:${server.address().port}`,
    asked: () => sent.map(({ asked }) => asked),
    bytesOf: (pattern) => sent.filter(({ path }) => pattern.test(path)).reduce((sum, { bytes }) => sum + bytes, 0),
    stop: () =>
      new Promise((resolve) => {
        server.close(resolve);
        server.closeAllConnections();
      }),
  });
}
