// The page: loads the model, runs both sides on the same prompt and compares them step by step.

import { compare, sameStep, verdictText } from "./compare.js";
import { Engine } from "./engine.js";
import { Facts } from "./facts.js";
import { chipParts, counted, formatBytes, speedText } from "./format.js";
import { loadModel, showLoading } from "./model-loading.js";
import { fetchStatus, generateNative, replay } from "./native.js";
import { keepPage } from "./offline.js";
import { PromptField } from "./prompt-field.js";
import { Seam } from "./seam.js";
import { Side } from "./side.js";
import { Training } from "./train.js";
import { showVerdict } from "./verdict.js";

const $ = (id) => document.getElementById(id);
const facts = new Facts();
const native = new Side("native", inspect);
const browser = new Side("browser", inspect);
const seam = new Seam($("seam"));
const training = new Training({
  busy: (busy) => ($("generate").disabled = busy),
  regenerate: run,
  weights: (native, browser) => facts.weights(native, browser),
  memory: (bytes) => facts.memory(bytes),
  log: (text) => facts.log(text),
});

/** The native side: its status where a server is there, recorded runs where one was, otherwise nothing. */
let server = null;
let recordings = [];
let engine = null;
let stopping = null;
const field = new PromptField((prompt) => recordings.find((run) => run.prompt === prompt));

async function start() {
  const keptShell = keepPage();
  try {
    field.examples(await (await fetch("examples.json")).json());
    facts.cacheSize(await Engine.cacheSize());
    let startedAt;
    const onLoad = (baseUrl) => {
      facts.log(`Loading ${decodeURIComponent(new URL(baseUrl).pathname)}`);
      browser.about("loading");
      startedAt = performance.now();
    };
    engine = await loadModel({ onWait: () => native.about("the server is loading the model"), onServer, onSite, onLoad });
    await showEngine((performance.now() - startedAt) / 1000);
  } catch (error) {
    showFailure(error);
  }
  facts.offline(await keptShell, engine !== null && engine.info.notCached === null);
}

function onServer(status) {
  server = status;
  native.about(aboutServer(status));
  facts.server(status);
}

/** A static site, or no network: the recorded runs stand in. */
function onSite(site, status) {
  recordings = site.recordings;
  if (recordings.length > 0) {
    $("native-badge").hidden = false;
    native.about(`not a live server: recorded on ${aboutServer(recordings[0])}`);
    facts.server({ weightsSha256: recordings[0].weights_sha256 });
  } else {
    native.about(status === "absent" ? "no native server here" : "no server answers");
  }
  facts.log(recordings.length > 0 ? "No server here; recorded native runs stand in" : "No server here");
}

/** The engine is there. @param {number} seconds in which it was loaded */
async function showEngine(seconds) {
  const { info } = engine;
  browser.about(`${info.backend}, ${counted(info.threads, "thread")}`);
  facts.engine(info);
  facts.cacheSize(await Engine.cacheSize());
  facts.log(`Model ready after ${seconds.toFixed(1)} s: ${formatBytes(info.bytesFromNetwork)} fetched, ${formatBytes(info.bytesFromCache)} kept from before`);
  if (info.notCached !== null) facts.log(`The model is not kept for the next visit: ${info.notCached}`);
  if (server && !server.weightsSha256) facts.server(await fetchStatus()); // by now it has hashed its weights
  $("generate").disabled = false;
  training.ready(engine, server !== null);
}

/** Runs both sides on one prompt or message; ends with a final verdict. */
async function run() {
  const { text, chat, asked, maxTokens } = field.request();
  stopping = new AbortController();
  const { signal } = stopping;
  $("generate").disabled = true;
  $("stop").disabled = false;
  training.generating(true);
  $("inspector").hidden = true;
  facts.transcripts(null, null);
  const echo = ending(text, 240);
  for (const side of [native, browser]) side.begin(echo, chat);
  seam.begin(maxTokens);
  showVerdict($("verdict"), "running", "Comparing");
  facts.log(`Generating at most ${maxTokens} tokens ${chat ? "in answer to" : "from"} ${JSON.stringify(ending(text, 60))}`);

  const recorded = recordings.find((run) => !chat && run.prompt === text && run.max_tokens === maxTokens);
  let nativeTranscript = recorded?.transcript_sha256;
  const onDone = (summary) => {
    nativeTranscript = summary.transcriptSha256;
    native.receipt(summary.receipt ? JSON.stringify(summary.receipt) : null);
    if (summary.weightsSha256) facts.server(summary); // another page may have trained it
  };
  const source = server ? generateNative({ ...asked, maxTokens, signal, onDone }) : replayOf(recorded);
  const onPrefill = ({ done, total }) => browser.note(`reading the prompt: ${done} of ${total} tokens`);
  const outcomes = await Promise.allSettled([
    source && follow(native, source),
    follow(browser, engine.generate({ ...asked, maxTokens, signal, onPrefill })),
  ]);
  const failures = [];
  for (const [i, { reason }] of outcomes.entries()) {
    if (!reason || signal.aborted) continue;
    failures.push(`${["native", "browser"][i]}: ${reason.message}`);
    [native, browser][i].note(`Failed: ${reason.message}`);
  }
  if (recorded) {
    native.note(recordedSpeed(recorded));
    native.receipt(recorded.receipt ? JSON.stringify(recorded.receipt) : null);
  }
  facts.transcripts(nativeTranscript, browser.steps.at(-1)?.transcriptSha256);
  browser.receipt(browser.steps.at(-1)?.receipt ?? null);
  const state = signal.aborted ? "stopped" : failures.length > 0 ? "error" : "done";
  finish(state, failures, source !== null);
}

function recordedSpeed({ timings: { prompt_ms, predicted_n, predicted_ms } }) {
  return `${speedText({ tokens: predicted_n, firstMs: prompt_ms, restMs: predicted_ms })}, when it was recorded`;
}

/** A recorded run's steps, or null where nothing was recorded; the column says why. */
function replayOf(recorded) {
  if (recorded) return replay(recorded, (ids) => engine.decode(ids));
  const known = recordings.map((run) => `${JSON.stringify(run.prompt)} with ${run.max_tokens} tokens`).join(", ");
  native.note(known ? `Not recorded. Recorded prompts: ${known}.` : "No native side to compare with.");
  return null;
}

async function follow(side, source) {
  for await (const token of source) {
    side.add(token, token.done ?? token.finishReason !== null);
    const index = side.steps.length - 1;
    const [a, b] = [native.steps[index], browser.steps[index]];
    if (a && b) {
      const verdict = sameStep(a, b) ? "match" : "differ";
      for (const column of [native, browser]) column.mark(index, verdict);
    }
    seam.draw(index, a, b);
    const { total, tokensMatched, digestsMatched } = countMatches();
    const equal = `${tokensMatched} tokens, ${digestsMatched} logit digests match so far`;
    $("verdict").textContent = native.steps.length > 0 && browser.steps.length > 0 ? equal : `${total} tokens so far`;
  }
}

function countMatches() {
  const comparison = compare(native.steps, browser.steps);
  const { dataset } = $("verdict");
  dataset.tokensMatched = comparison.tokensMatched;
  dataset.digestsMatched = comparison.digestsMatched;
  dataset.total = comparison.total;
  return comparison;
}

function finish(state, failures, compared) {
  const comparison = countMatches();
  const { total, firstDifference } = comparison;
  seam.fit(total);
  let text = compared ? verdictText(comparison) : `${total} tokens in the browser, nothing native to compare with`;
  if (state === "stopped") text = `Stopped: ${text}`;
  if (state === "error") text = `Failed: ${failures.join("; ")}`;
  const expected = compared && facts.apart;
  if (state === "done" && compared && firstDifference !== null) {
    text += `; first difference at step ${firstDifference}${expected ? ", as the two models differ" : ""}`;
    if (!expected) inspect(firstDifference - 1);
    for (const side of [native, browser]) side.mark(firstDifference - 1, "differ");
  }
  facts.log(text);
  facts.memory(engine.info.memoryBytes);
  const outcome = firstDifference === null ? "equal" : expected ? "apart" : "different";
  showVerdict($("verdict"), state, text, { outcome: compared && total > 0 ? outcome : "" });
  $("stop").disabled = true;
  $("generate").disabled = false;
  training.generating(false);
  if (state === "done") training.generated(native.steps, browser.steps);
}

/** Shows one step of both sides in full. */
function inspect(index) {
  $("inspector").hidden = false;
  const [a, b] = [native.steps[index], browser.steps[index]];
  const equal = sameStep(a, b);
  $("inspector-title").textContent = `Step ${index + 1}${a && b ? (equal ? ": equal in every bit" : ": different") : ""}`;
  for (const [name, side, step] of [["native", native, a], ["browser", browser, b]]) {
    side.highlight(index);
    $(`inspect-${name}-text`).textContent = step ? chipParts(step.tokenText, step.last).map((part) => part.text).join("") : "none";
    $(`inspect-${name}-id`).textContent = step?.tokenId ?? "";
    $(`inspect-${name}-digest`).textContent = step?.logitsSha256.replace(/.{8}(?=.)/g, "$& ") ?? "";
  }
}

/** The end of a long text. */
function ending(text, length) {
  const characters = [...text];
  return characters.length <= length ? text : `…${characters.slice(-length).join("")}`;
}

function showFailure(error) {
  $("loading-progress").hidden = true;
  browser.about("not loaded");
  showLoading("");
  $("failure").textContent = `The model could not be loaded: ${error.message}`;
  $("failure").hidden = false;
  showVerdict($("verdict"), "error", "No model in the browser");
  facts.log(`The model could not be loaded: ${error.message}`);
}

async function deleteCache() {
  await Engine.deleteCache();
  facts.cacheSize(await Engine.cacheSize());
  facts.offline(null, false);
  facts.log("The kept model was deleted; the loaded one stays until the page is closed");
}

function aboutServer({ backend, threads: count }) {
  return [backend, count && counted(count, "thread")].filter(Boolean).join(", ") || "this server";
}

$("controls").addEventListener("submit", (event) => {
  event.preventDefault();
  if (!$("generate").disabled) run();
});
$("stop").addEventListener("click", () => stopping?.abort());
$("prompt").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) $("controls").requestSubmit();
});
$("delete-cache").addEventListener("click", () =>
  deleteCache().catch((error) => facts.log(`The kept model was not deleted: ${error.message}`)),
);

start();
