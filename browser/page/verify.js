// The page that verifies a receipt: it comes as a file, or in the last part of the address.

import { takeFiles } from "./drop-area.js";
import { LEFT_OUT, leftOut } from "./left-out.js";
import { loadModel, showLoading } from "./model-loading.js";
import { keepPage } from "./offline.js";
import { MAX_BYTES, linkedReceipt } from "./receipt-link.js";
import { showReceiptVerdict, verdictWords } from "./verdict.js";

const $ = (id) => document.getElementById(id);

/** The engine, once a receipt needs it. @type {Promise<import("./engine.js").Engine> | null} */
let loading = null;
/** What stops the verification under way. @type {AbortController | null} */
let stopping = null;
/** The receipt that leaves out what is asked for. @type {BufferSource | null} */
let asked = null;

/**
 * Verifies a receipt; one that is being verified is given up.
 * @param {BufferSource | Promise<ArrayBuffer>} receipt its bytes, or a file that is being read
 * @param {object} [given] what a private one leaves out
 */
async function verify(receipt, given) {
  stopping?.abort();
  const mine = (stopping = new AbortController());
  const { signal } = mine;
  $("private").hidden = true;
  $("about-receipt").hidden = true;
  $("failure").hidden = true;
  show("running", "Computing it again");
  try {
    const bytes = await receipt;
    signal.throwIfAborted();
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
  $("about-receipt").hidden = result.kind === undefined;
  if (result.kind !== undefined) await tellAbout(engine, result);
  show("done", verdictWords(result, "step"), result);
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

const show = (state, text, result) => showReceiptVerdict("verify", state, text, result);

function fail(error) {
  show("error", "Nothing was verified");
  showLoading("");
  $("failure").textContent = error.message;
  $("failure").hidden = false;
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

takeFiles($("receipt-drop"), $("receipt-file"), ([file]) => file && verify(file.slice(0, MAX_BYTES).arrayBuffer()));
$("private").addEventListener("submit", (event) => {
  event.preventDefault();
  giveLeftOut().catch(fail);
});
$("verify-stop").addEventListener("click", () => stopping?.abort());
addEventListener("hashchange", takeLinked);

takeLinked();
keepPage();
