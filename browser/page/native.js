// The native side: the server that serves this page, or the recording of one on a static site.

import { authorization } from "./key.js";
import { readEvents } from "./sse.js";

/**
 * What the server says about itself.
 * @returns {Promise<object | "absent" | "locked" | "unreachable">} the status; "absent" where there is no such server, "locked"
 *   where it wants a key or another one, "unreachable" where nothing answers (offline)
 */
export async function fetchStatus(signal) {
  let response;
  try {
    response = await fetch("../api/status", { headers: authorization(), cache: "no-store", signal });
  } catch (error) {
    if (signal?.aborted) throw error;
    return "unreachable";
  }
  // A static server answers 404, or a page of its own for every address.
  if (!response.headers.get("content-type")?.startsWith("application/json")) return "absent";
  if (response.status === 401) return "locked";
  const status = await response.json().catch(() => null);
  return status && typeof status.ready === "boolean" ? status : "absent";
}

/**
 * Generates on the server: goes on from a prompt, or answers a conversation.
 * @param {{prompt?: string, messages?: {role: string, content: string}[], maxTokens: number, signal?: AbortSignal,
 *   onDone?: (summary: object) => void}} request one of `prompt` and `messages`; `onDone` takes what the server says after the
 *   last token
 */
export async function* generateNative({ prompt, messages, maxTokens, signal, onDone = () => {} }) {
  const asked = messages === undefined ? `prompt=${encoded(prompt)}` : `messages=${encoded(conversation(messages))}`;
  const url = `../api/generate?${asked}&max_tokens=${maxTokens}`;
  const response = await fetch(url, { headers: authorization(), cache: "no-store", signal });
  if (!response.ok) throw new Error(await errorText(response));
  let finished = false;
  for await (const { event, data } of readEvents(response)) {
    const message = JSON.parse(data);
    if (event === "token") yield message;
    else if (event === "error") throw new Error(message.error);
    else if (event === "done") {
      finished = true;
      onDone(message);
    }
  }
  if (!finished) throw new Error("the server closed the stream before the end of the text");
}

/** The JSON of a conversation; escapes of lone surrogates are no JSON to the server. */
function conversation(messages) {
  return JSON.stringify(messages.map(({ role, content }) => ({ role, content: wellFormed(content) })));
}

function encoded(text) {
  return encodeURIComponent(wellFormed(text));
}

/** A lone surrogate has no UTF-8: it becomes U+FFFD, as it does on the way into WebAssembly. */
function wellFormed(text) {
  return new TextDecoder().decode(new TextEncoder().encode(text));
}

/**
 * Trains the server's model on a text, from the base weights on; after the signal or `stopNative` it ends with the step
 * under way.
 * @param {{text: string, steps: number, learningRate: number, method: "full" | "lora", optimizer: "sgd" | "adamw", signal: AbortSignal, onStep: (step: {step: number, loss: number}) => void}} request
 * @returns {Promise<{weightsSha256: string, adapterSha256?: string | null}>} what the server says after the last step
 */
export async function trainNative({ text, steps, learningRate, method, optimizer, signal, onStep }) {
  const response = await post("train", { text, steps, learningRate, method, optimizer });
  for await (const { event, data } of readEvents(response)) {
    const message = JSON.parse(data);
    if (event === "init" && signal.aborted) await stopNative(); // it had not begun when it was to stop
    else if (event === "step") onStep(message);
    else if (event === "error") throw new Error(message.error);
    else if (event === "done") return message;
  }
  throw new Error("the server closed the stream before the end of the training");
}

/** Ends the server's training after the step under way. */
export async function stopNative() {
  await post("train/stop", {});
}

/** Gives the server its base weights back; resolves with the digests of what it serves then, as far as it knows them. */
export async function resetNative() {
  return (await post("train/reset", {})).json();
}

async function post(path, body) {
  const headers = { "content-type": "application/json", ...authorization() };
  const response = await fetch(`../api/${path}`, { method: "POST", headers, body: JSON.stringify(body) });
  if (!response.ok) throw new Error(await errorText(response));
  return response;
}

async function errorText(response) {
  const text = await response.text().catch(() => "");
  try {
    return JSON.parse(text).error;
  } catch {
    return `the server answered ${response.status} ${response.statusText}`;
  }
}

/**
 * What `tools site` left beside the page: where the model is, and the recorded native runs (each what
 * `lockstep generate --json` printed, with `prompt`, `max_tokens` and `receipt`).
 * @returns {Promise<{modelUrl: string | undefined, recordings: object[]}>}
 */
export async function fetchSite() {
  const [site, recordings] = await Promise.all(["site.json", "recorded.json"].map(fetchJson));
  return { modelUrl: site?.modelUrl, recordings: Array.isArray(recordings) ? recordings : [] };
}

/** A JSON file, or null where there is none. */
async function fetchJson(path) {
  try {
    const response = await fetch(path);
    return response.ok ? await response.json() : null;
  } catch {
    return null;
  }
}

/**
 * The steps of a recorded run, as `generateNative` yields them.
 * @param {object} run what `lockstep generate --json` printed
 * @param {(ids: number[]) => Promise<string>} decode
 */
export async function* replay(run, decode) {
  for (const [i, tokenId] of run.token_ids.entries()) {
    const done = i + 1 === run.token_ids.length;
    const tokenText = done && run.finish_reason === "stop" ? "" : await decode([tokenId]);
    yield { step: i + 1, tokenId, tokenText, logitsSha256: run.logits_sha256[i], done };
  }
}
