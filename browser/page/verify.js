// The page that verifies a receipt: it comes as a file, or in the last part of the address.

import { LEFT_OUT, leftOut } from "./left-out.js";
import { loadModel, showLoading } from "./model-loading.js";
import { keepPage } from "./offline.js";
import { MAX_BYTES, linkedReceipt } from "./receipt-link.js";

const WORDS = {
  MATCH: "MATCH: computed again, every bit is as the receipt says",
  MISMATCH: "MISMATCH",
  CANNOT_VERIFY: "It cannot be verified here",
  MALFORMED: "This is no receipt",
};

const $ = (id) => document.getElementById(id);

/** The engine, once a receipt needs it. @type {Promise<import("./engine.js").Engine> | null} */
let loading = null;
/** What stops the verification under way. @type {AbortController | null} */
let stopping = null;
/** The receipt that leaves out what is asked for. @type {Uint8Array | null} */
let asked = null;

/**
 * Verifies a receipt; one that is being verified is given up.
 * @param {Uint8Array} bytes
 * @param {object} [given] what a private one leaves out
 */
async function verify(bytes, given) {
  stopping?.abort();
  const mine = (stopping = new AbortController());
  const { signal } = mine;
  $("private").hidden = true;
  $("about-receipt").hidden = true;
  $("failure").hidden = true;
  show("running", "Computing it again");
  try {
    // Whoever comes after a failure tries again.
    loading ??= loadModel().catch((error) => {
      loading = null;
      throw error;
    });
    const engine = await loading;
    signal.throwIfAborted();
    const progress = $("verify-progress");
    progress.hidden = $("verify-stop").hidden = false;
    const onProgress = ({ done, total }) => Object.assign(progress, { max: total, value: done });
    const result = await engine.verify(bytes, { signal, onProgress, ...given });
    await tell(engine, result);
    if (result.isPrivate && result.verdict === "CANNOT_VERIFY") askFor(bytes, result.kind);
  } catch (error) {
    if (stopping !== mine) return; // another receipt has come
    if (signal.aborted) show("idle", "Stopped");
    else fail(error);
    $("private").hidden = given === undefined; // it may be what was given that cannot be read
  }
  if (stopping === mine) $("verify-progress").hidden = $("verify-stop").hidden = true;
}

/** Asks for what a receipt of this kind leaves out. */
function askFor(bytes, kind) {
  const { missing, forms } = LEFT_OUT[kind];
  // What was given in vain stays, to be changed.
  if (asked !== bytes) {
    asked = bytes;
    $("private").reset();
    $("private-label").textContent = `The receipt leaves the ${missing} out. To verify it, give the ${missing}:`;
    $("private-kind").replaceChildren(...forms.map(({ name, text }) => new Option(text, name)));
  }
  $("private").hidden = false;
}

/** What the receipt tells, and then the verdict on it. */
async function tell(engine, result) {
  const { verdict, step, why, kind } = result;
  $("about-receipt").hidden = kind === undefined;
  if (kind !== undefined) await tellAbout(engine, result);
  show("done", step === null ? WORDS[verdict] : `${WORDS[verdict]} at step ${step}`, why ?? "");
  Object.assign($("verify-verdict").dataset, { verdict, step: step ?? "" });
}

async function tellAbout(engine, { step, kind, steps, signature, publicKey, promptIds, tokenIds }) {
  const parts = { generation: "tokens", training: "steps", scoring: "lines", aggregation: "clients" };
  $("about-kind").textContent = `${kind === "aggregation" ? "an" : "a"} ${kind} of ${steps} ${parts[kind]}`;
  const texts = {
    none: "not signed", valid: `signed by ${publicKey}; compare this key with the one that you know`,
    invalid: `not a signature of ${publicKey}: the receipt was changed after it was signed, or never signed by that key`,
  };
  $("about-signature").textContent = texts[signature];
  $("about-signature").dataset.signature = signature;
  $("about-round").hidden = kind !== "aggregation";
  $("about-model").textContent = `${engine.info.name}, ${engine.info.source}, weights ${engine.info.weightsSha256}`;
  // Ids that the vocabulary does not have have no text.
  $("about-text").hidden = !promptIds;
  if (!promptIds) return;
  const text = (ids) => engine.decode(ids).catch(() => "(no text of this model)");
  $("about-prompt").textContent = await text(promptIds);
  const at = step === null ? tokenIds.length : step - 1;
  const mark = document.createElement("mark");
  mark.textContent = await text(tokenIds.slice(at, at + 1));
  const [before, after] = [await text(tokenIds.slice(0, at)), await text(tokenIds.slice(at + 1))];
  $("about-output").replaceChildren(before, ...(step === null ? [] : [mark]), after);
}

function show(state, text, why = "") {
  Object.assign($("verify-verdict").dataset, { state, verdict: "", step: "" });
  $("verify-verdict").textContent = text;
  $("verify-verdict").ariaBusy = state === "running";
  $("verify-why").textContent = why;
}

function fail(error) {
  show("error", "Nothing was verified");
  showLoading("");
  $("failure").textContent = error.message;
  $("failure").hidden = false;
}

/** @param {FileList} files */
async function take([file]) {
  if (!file) return;
  show("running", "Reading the file");
  await verify(new Uint8Array(await file.slice(0, MAX_BYTES).arrayBuffer()));
}

/** Verifies again, with what was written or chosen. */
async function giveLeftOut() {
  const [file] = $("private-file").files;
  const given = leftOut($("private-kind").value, file ? await file.text() : $("private-text").value);
  await verify(asked, given);
}

function takeLinked() {
  const bytes = linkedReceipt(location.hash);
  if (bytes) verify(bytes);
}

$("receipt-file").addEventListener("change", ({ target }) => take(target.files));
addEventListener("dragover", (event) => {
  event.preventDefault();
  $("receipt-drop").dataset.dragged = "";
});
addEventListener("dragleave", () => delete $("receipt-drop").dataset.dragged);
addEventListener("drop", (event) => {
  event.preventDefault();
  delete $("receipt-drop").dataset.dragged;
  take(event.dataTransfer.files);
});
$("private").addEventListener("submit", (event) => {
  event.preventDefault();
  giveLeftOut().catch(fail);
});
$("verify-stop").addEventListener("click", () => stopping?.abort());
addEventListener("hashchange", takeLinked);

takeLinked();
keepPage();
