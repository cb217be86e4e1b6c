// A federated round of three clients: two native processes and a browser tab. Both sides put the same adapters together to the same
// bits, with the same receipt, and verify each other's.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before } from "node:test";
import { dropFiles, madeFiles, watchFiles } from "./drive/files.mjs";
import { inEachBrowser } from "./drive/scenarios.mjs";
import { setting, startLockstep } from "./drive/servers.mjs";
import { until } from "./drive/until.mjs";

const TEXTS = { alice: "The cat sat on the mat and purred loudly.", bob: "The dog ran to the sea and barked at the waves." };
const OWN_TEXT = "A bird sang in the tree until the sun went down.";
const TRAINING = ["--method", "lora", "--optimizer", "adamw", "--learning-rate", "0.002", "--steps", "2", "--private"];
const FILES = ["adapter_config.json", "adapter_model.safetensors"];

let server;
let folder;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), "lockstep-round-"));
  server = await startLockstep();
  for (const [name, text] of Object.entries(TEXTS)) train(name, text);
});
after(async () => {
  await server?.stop();
  await rm(folder, { recursive: true });
});

const path = (name) => join(folder, name);
const each = (flag, names) => names.flatMap((name) => [flag, path(name)]);

/** Runs a command with the model; what it prints, and its exit code. */
function lockstep(command, words) {
  const { status, stdout, stderr } = spawnSync(setting("LOCKSTEP_E2E_SERVER"), [command, "--model", setting("LOCKSTEP_E2E_MODEL"), ...words], { encoding: "utf8" });
  assert.ok(status !== null && status !== 1 && status !== 2, stderr);
  return { status, result: JSON.parse(stdout.trimEnd().split("\n").at(-1)) };
}

/** A native client: its adapter in the folder `name`, its receipt beside it. */
function train(name, text) {
  const { result } = lockstep("train", ["--text", text, ...TRAINING, "--save", path(name), "--receipt", path(`${name}.json`), "--json"]);
  return result.adapter_sha256;
}

function verifyNatively(receipt, adapters) {
  return lockstep("verify", [path(receipt), ...each("--adapter", adapters), "--json"]);
}

/** What the page says. */
function look(tab) {
  return tab.evaluate(() => {
    const verdict = document.getElementById("round-verdict");
    const shown = (id) => (document.getElementById(id).hidden ? "" : document.getElementById(id).textContent);
    return {
      ...verdict.dataset, text: verdict.textContent, why: document.getElementById("round-why").textContent, error: shown("round-error"), failure: shown("failure"),
      own: document.getElementById("own-state").dataset.digest, ownText: document.getElementById("own-state").textContent,
      rows: [...document.querySelectorAll("#client-rows tr")].map((row) => row.innerText), idle: !document.getElementById("own-train").disabled,
      output: document.getElementById("continue-output").textContent, loading: shown("loading"),
    };
  });
}

/** Waits until the page can be asked for something again. */
function idle(tab, what) {
  const ready = async () => {
    const now = await look(tab);
    if (now.failure) throw new Error(`the page says: ${now.failure}`);
    return now.idle ? now : null;
  };
  return until(what, ready, 240, async () => JSON.stringify(await look(tab)));
}

/** Drops files of this folder on the page. @param {[string, string][]} files names, and where their contents are */
async function drop(tab, files) {
  await dropFiles(tab, await Promise.all(files.map(async ([name, from]) => [name, await readFile(path(from), "base64")])));
  return idle(tab, "the files are taken");
}

/** The files that the page offers under these links, into a folder; `as` are their names. */
async function save(tab, into, as) {
  await mkdir(path(into), { recursive: true });
  const contents = await madeFiles(tab, Object.keys(as));
  for (const [index, name] of Object.values(as).entries()) await writeFile(join(path(into), name), contents[index], "base64");
}

const client = (name) => [...FILES.map((file) => [file, `${name}/${file}`]), ["receipt.json", `${name}.json`]];

inEachBrowser("a federated round", (scenario, name) => {
  scenario("two processes and a tab make the same aggregate, and each verifies the other's", async (tab) => {
    await tab.goto(`${server.url}/web/federated.html`);
    await idle(tab, "the model is loaded");
    await watchFiles(tab);

    // The tab is a client: its adapter and its receipt are those of a process that learns the same text.
    await tab.evaluate((text) => Object.assign(document.getElementById("own-text"), { value: text }), OWN_TEXT);
    await tab.evaluate(() => Object.assign(document.getElementById("own-steps"), { value: 2 }));
    await tab.click("#own-train");
    const { own } = await idle(tab, "the tab has trained");
    const carol = `carol-${name}`;
    await save(tab, carol, { "own-config": FILES[0], "own-weights": FILES[1], "own-receipt": "receipt.json" });
    const receipt = await readFile(path(`${carol}/receipt.json`), "utf8");
    assert.ok(!receipt.includes('"data"'), "the text stays in the tab");
    await writeFile(path(`${carol}.json`), receipt);
    assert.equal(train(`native-${carol}`, OWN_TEXT), own);
    assert.equal(await readFile(path(`native-${carol}.json`), "utf8"), receipt);

    // The others come by their files; the tab puts the three together.
    let now = await drop(tab, client("alice"));
    now = await drop(tab, client("bob"));
    assert.deepEqual([now.rows.length, now.error], [3, ""], JSON.stringify(now));
    for (const row of now.rows) assert.match(row, /private/);
    await tab.click("#aggregate");
    now = await idle(tab, "the round is put together");
    assert.equal(now.state, "done", JSON.stringify(now));
    const inTab = now.digest;
    const tabs = `tabs-${name}`;
    await save(tab, tabs, { "round-config": FILES[0], "round-weights": FILES[1], "round-receipt": "round.json" });

    // A process does the same, from the other end.
    const natives = `natives-${name}`;
    const all = [carol, "bob", "alice"];
    const words = [...each("--adapter", all), ...each("--client-receipt", all.map((client) => `${client}.json`))];
    const { result } = lockstep("aggregate", [...words, "--save", path(natives), "--receipt", path(`${natives}.json`), "--json"]);
    assert.equal(result.adapter_sha256, inTab);
    assert.equal(await readFile(path(`${natives}.json`), "utf8"), await readFile(path(`${tabs}/round.json`), "utf8"));
    for (const file of FILES) assert.deepEqual(await readFile(path(`${natives}/${file}`)), await readFile(path(`${tabs}/${file}`)), file);

    // Each side verifies the other's receipt.
    const verified = verifyNatively(`${tabs}/round.json`, all);
    assert.deepEqual([verified.status, verified.result.verdict, verified.result.steps], [0, "MATCH", 3]);
    now = await drop(tab, [["round.json", `${natives}.json`]]);
    assert.equal(now.verdict, "MATCH", JSON.stringify(now));

    // Texts are continued with the aggregate, the same on both sides.
    await tab.click("#continue-go");
    now = await idle(tab, "the text is there");
    const generated = lockstep("generate", ["--prompt", "The cat", "--max-tokens", "25", "--adapter", path(natives), "--json"]);
    assert.equal(now.output, generated.result.text);
  });

  scenario("an adapter that was changed is told", async (tab) => {
    const [natives, changed] = [`natives-${name}`, `changed-${name}`];
    await mkdir(path(changed));
    for (const file of FILES) await writeFile(path(`${changed}/${file}`), await readFile(path(`bob/${file}`)));
    const weights = await readFile(path(`${changed}/${FILES[1]}`));
    weights[weights.length - 2] ^= 1;
    await writeFile(path(`${changed}/${FILES[1]}`), weights);
    const natively = verifyNatively(`${natives}.json`, ["alice", changed, `carol-${name}`]);
    assert.deepEqual([natively.status, natively.result.verdict], [3, "MISMATCH"]);

    await tab.goto(`${server.url}/web/federated.html`);
    await idle(tab, "the model is loaded");
    let now = await drop(tab, [["round.json", `${natives}.json`]]);
    assert.equal(now.verdict, "CANNOT_VERIFY", JSON.stringify(now));
    const files = ["alice", changed, `carol-${name}`].flatMap((name) => FILES.map((file) => [file, `${name}/${file}`]));
    now = await drop(tab, files);
    assert.equal(now.rows.length, 3, JSON.stringify(now));
    await tab.click("#verify-round");
    now = await idle(tab, "the round is verified");
    assert.deepEqual([now.verdict, now.step], ["MISMATCH", String(natively.result.step)], JSON.stringify(now));
    // A receipt of the training that gave the adapter before it was changed is of no client.
    now = await drop(tab, [["receipt.json", "bob.json"]]);
    assert.ok(now.rows.every((row) => row.includes("none")), JSON.stringify(now));
    now = await drop(tab, [["notes.txt", "bob.json"]]);
    assert.match(now.error, /notes\.txt is not a file of a client/);
    // Each button says which client it removes, and gives the focus back to where clients come from.
    await tab.click(`#client-rows [aria-label="Remove ${now.rows[0].slice(0, 12)}"]`);
    assert.equal((await look(tab)).rows.length, 2);
    assert.equal(await tab.evaluate(() => document.activeElement.id), "round-files");
  });
});
