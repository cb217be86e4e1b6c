// The page of a federated round: a tab trains on its own text, takes the adapters of other clients, puts them together, verifies
// rounds, and generates with what came out.

import { takeFiles } from "./drop-area.js";
import { counted, shortDigest } from "./format.js";
import { loadModel, showLoading } from "./model-loading.js";
import { offer } from "./offer.js";
import { keepPage } from "./offline.js";
import { pairAdapters, readRoundFiles } from "./round-files.js";
import { showReceiptVerdict, verdictWords } from "./verdict.js";

const TOKENS = 25;

const $ = (id) => document.getElementById(id);

/** @type {import("./engine.js").Engine | null} */
let engine = null;
let busy = false;
/** The clients: `{name, config, weights, digest, own, weight}`; `weight` is what its field says. */
let clients = [];
/** Receipts of trainings: `{bytes, trained}`, the digest of what came out. */
let receipts = [];
/** Files that wait for those that belong to them. */
let waiting = { configs: [], weights: [] };
/** What came out of the round: `{files, adapterSha256, receipt}`. */
let made = null;
/** The receipt of a round that can be verified, the one that was made here or dropped last. */
let round = null;

/** Does something while nothing else can be asked for. @param {() => Promise<void>} work */
async function exclusively(work) {
  busy = true;
  enable();
  say("");
  try {
    await work();
  } catch (error) {
    say(error.message);
  }
  busy = false;
  enable();
}

function enable() {
  const idle = engine !== null && !busy;
  $("own-train").disabled = $("round-files").disabled = $("continue-go").disabled = !idle;
  $("aggregate").disabled = !(idle && clients.length > 0);
  $("verify-round").disabled = !(idle && round !== null);
  for (const control of document.querySelectorAll("#client-rows :is(input, button)")) control.disabled = !idle;
}

function say(text) {
  $("round-error").hidden = text === "";
  $("round-error").textContent = text;
}

const show = (state, text, result) => showReceiptVerdict("round", state, text, result);

/** Trains on the text of this tab, which becomes a client of the round. */
async function train() {
  const steps = Number($("own-steps").value);
  const stopping = new AbortController();
  const stop = () => stopping.abort();
  $("own-stop").addEventListener("click", stop, { once: true });
  $("own-stop").hidden = false;
  $("own-state").textContent = "Training";
  $("own-state").dataset.digest = "";
  offer("own", null);
  try {
    const result = await engine.train({
      text: $("own-text").value, steps, learningRate: Number($("own-rate").value), method: "lora", optimizer: "adamw", private: true,
      signal: stopping.signal, onStep: ({ step, loss }) => ($("own-state").textContent = `step ${step} of ${steps}, loss ${loss.toFixed(3)}`),
    });
    if (result.adapterSha256 === null) return ($("own-state").textContent = "Stopped before the first step");
    const { config, weights } = await engine.exportAdapter();
    const trained = result.adapterSha256;
    clients = clients.filter(({ own }) => !own);
    receipts.push({ bytes: new TextEncoder().encode(result.receipt), trained });
    clients.push({ name: "your text", config, weights, digest: trained, own: true, weight: 1 });
    tellUse();
    offer("own", { config, weights, receipt: result.receipt });
    $("own-state").textContent = `${counted(result.steps, "step")}, loss ${result.losses.at(-1).toFixed(3)}; adapter ${shortDigest(trained)}, a client of the round below. To take part elsewhere, give away:`;
    $("own-state").dataset.digest = trained;
    changed();
  } catch (error) {
    $("own-state").textContent = `Failed: ${error.message}`;
  } finally {
    $("own-stop").removeEventListener("click", stop);
    $("own-stop").hidden = true;
  }
}

/** Takes dropped files: clients, their receipts, or the receipt of a round, which is verified. @param {File[]} files */
async function take(files) {
  const found = await readRoundFiles(files);
  const { length } = clients;
  receipts.push(...found.receipts.map(({ bytes, content }) => ({ bytes, trained: content.training.trained_sha256 })));
  waiting = { configs: [...waiting.configs, ...found.configs], weights: [...waiting.weights, ...found.weights] };
  if (waiting.weights.length > 0 && waiting.configs.length > 0) {
    const adapters = waiting;
    waiting = { configs: [], weights: [] };
    for (const adapter of pairAdapters(adapters.configs, adapters.weights)) await add(adapter);
  } else if (waiting.weights.length > 0) say("Now adapter_config.json, please.");
  else if (waiting.configs.length > 0) say("Now adapter_model.safetensors, please.");
  if (clients.length > length || found.receipts.length > 0) changed();
  if (found.rounds.length > 0) {
    round = found.rounds.at(-1).bytes;
    await verify();
  }
}

/** Adds a client, unless its adapter is no adapter of this model. */
async function add({ name, config, weights }) {
  // Of one adapter the aggregate is the adapter itself.
  const { adapterSha256 } = await engine.aggregate([{ config, weights }]).catch((error) => {
    throw new Error(`${name}: ${error.message.replace(/^adapter 1: /, "")}`);
  });
  clients.push({ name, config, weights, digest: adapterSha256, own: false, weight: 1 });
}

/** The clients, or how much they count, are other ones: what was made of them before is not of them. */
function forget() {
  if (made !== null) round = made = null;
  offer("round", null);
  $("round-digest").textContent = "";
  $("round-verdict").dataset.digest = "";
  show("idle", clients.length === 0 ? "No round yet" : `${counted(clients.length, "client")} in the round`);
  enable();
}

function changed() {
  forget();
  $("clients").hidden = clients.length === 0;
  $("client-rows").replaceChildren(...clients.map(row));
  enable();
}

/** The receipts that belong to clients, as many as there are clients with the same adapter. */
function receiptOf(client) {
  const equals = clients.filter(({ digest }) => digest === client.digest);
  return receipts.filter(({ trained }) => trained === client.digest)[equals.indexOf(client)];
}

function row(client) {
  const row = document.createElement("tr");
  const cell = (content, tag = "td") => {
    const cell = document.createElement(tag);
    cell.append(content);
    row.append(cell);
    return cell;
  };
  const digest = shortDigest(client.digest);
  const name = cell(digest);
  name.title = `${client.name}: ${client.digest}`;
  name.className = client.own ? "own" : "";
  const given = receiptOf(client) !== undefined;
  cell(given ? "private" : "none").className = given ? "given" : "";
  const weight = document.createElement("input");
  Object.assign(weight, { type: "number", min: 1, step: 1, value: client.weight, ariaLabel: `Weight of ${digest}` });
  weight.addEventListener("input", () => {
    client.weight = Number(weight.value);
    forget();
  });
  cell(weight);
  const remove = document.createElement("button");
  Object.assign(remove, { type: "button", className: "small", textContent: "Remove", ariaLabel: `Remove ${digest}` });
  remove.addEventListener("click", () => {
    clients = clients.filter((other) => other !== client);
    changed();
    $("round-files").focus(); // the button that had it is gone
  });
  cell(remove);
  return row;
}

async function aggregate() {
  show("running", "Putting together");
  const given = clients.map(receiptOf).filter(Boolean);
  if (given.length > 0 && given.length < clients.length) {
    throw new Error("Some clients have a receipt and others have none: drop the missing receipts, or remove those clients.");
  }
  made = await engine.aggregate(clients, { weights: clients.map(({ weight }) => weight), receipts: given.map(({ bytes }) => bytes) });
  round = new TextEncoder().encode(made.receipt);
  await engine.loadAdapter(made.files);
  tellUse();
  offer("round", { ...made.files, receipt: made.receipt });
  $("round-digest").textContent = `adapter ${made.adapterSha256}`;
  $("round-verdict").dataset.digest = made.adapterSha256;
  show("done", `One adapter of ${counted(clients.length, "client")}${given.length > 0 ? ", each with its receipt" : ", without receipts"}`);
}

async function verify() {
  show("running", "Putting together again");
  const result = await engine.verify(round, { adapters: clients });
  show("done", verdictWords(result, "client"), result);
}

/** With what texts are generated. */
function tellUse() {
  const { adapterSha256: digest } = engine;
  const whose = digest === made?.adapterSha256 ? "the adapter of the round" : "your own adapter";
  $("continue-with").textContent = digest === null ? "with the model as it was loaded" : `with ${whose}, ${shortDigest(digest)}`;
}

async function generate() {
  const prompt = $("continue-prompt").value;
  $("continue-echo").textContent = prompt;
  $("continue-output").textContent = "";
  for await (const { tokenText } of engine.generate({ prompt, maxTokens: TOKENS })) $("continue-output").textContent += tokenText;
}

/** Runs something that ends in the verdict of the round. */
const judged = (work) =>
  exclusively(() =>
    work().catch((error) => {
      show("error", "Failed");
      throw error;
    }),
  );

$("own").addEventListener("submit", (event) => {
  event.preventDefault();
  exclusively(train);
});
$("aggregate").addEventListener("click", () => judged(aggregate));
$("verify-round").addEventListener("click", () => judged(verify));
$("continue").addEventListener("submit", (event) => {
  event.preventDefault();
  exclusively(generate);
});
takeFiles($("round-drop"), $("round-files"), (files) => exclusively(() => take(files)));

keepPage();
loadModel().then(
  (loaded) => {
    engine = loaded;
    enable();
  },
  (error) => {
    showLoading("");
    $("failure").textContent = error.message;
    $("failure").hidden = false;
  },
);
