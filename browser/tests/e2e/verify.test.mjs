// Receipts: every run offers its own, both sides the same one, and the verify page computes it again.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before } from "node:test";
import { madeFiles, watchFiles } from "./drive/files.mjs";
import { generate, open } from "./drive/page.mjs";
import { inEachBrowser } from "./drive/scenarios.mjs";
import { setting, startLockstep } from "./drive/servers.mjs";
import { train } from "./drive/training.mjs";
import { until } from "./drive/until.mjs";
import { RECEIPT } from "./reference.mjs";

let server;
let folder;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), "lockstep-receipts-"));
  server = await startLockstep();
});
after(async () => {
  await server?.stop();
  await rm(folder, { recursive: true });
});

/** A receipt that the command issues; its file and its text. */
async function issue(name, flags) {
  const file = join(folder, name);
  run(["generate", "--model", setting("LOCKSTEP_E2E_MODEL"), "--prompt", "Once upon a time", "--max-tokens", "6", "--receipt", file, ...flags]);
  return readFile(file, "utf8");
}

function run(words, { trim = true } = {}) {
  const { status, stdout, stderr } = spawnSync(setting("LOCKSTEP_E2E_SERVER"), words, { encoding: "utf8" });
  assert.equal(status, 0, stderr);
  return trim ? stdout.trimEnd() : stdout;
}

/** The receipts that are offered for download under these ids, null where none is. */
async function offered(tab, ids) {
  return (await madeFiles(tab, ids)).map((file) => file && Buffer.from(file, "base64").toString());
}

/** Opens a page with a receipt in its address, once the one before is gone. */
async function openLinked(tab, receipt) {
  await tab.goto(`${server.url}/web/icon.svg`);
  await tab.goto(`${server.url}/web/verify.html#r=${Buffer.from(receipt).toString("base64url")}`);
  return verdict(tab);
}

/** Chooses a file on the page. */
async function choose(tab, receipt) {
  await tab.evaluate((text) => {
    const files = new DataTransfer();
    files.items.add(new File([text], "receipt.json", { type: "application/json" }));
    const input = document.getElementById("receipt-file");
    input.files = files.files;
    input.dispatchEvent(new Event("change", { bubbles: true }));
  }, receipt);
  return verdict(tab);
}

/** Gives what a private receipt leaves out, as an option of `engine.verify`. */
async function give(tab, kind, text) {
  await tab.evaluate((kind, text) => {
    document.getElementById("private-kind").value = kind;
    document.getElementById("private-text").value = text;
  }, kind, text);
  await tab.click("#private button");
  return verdict(tab);
}

/** Waits for the verdict and returns what the page says. */
function verdict(tab) {
  const look = () =>
    tab.evaluate(() => {
      const element = document.getElementById("verify-verdict");
      const text = (id) => document.getElementById(id).textContent;
      const { state, verdict, step } = element.dataset;
      const told = { state, verdict, step, text: element.textContent, why: text("verify-why"), failure: text("failure") };
      return {
        ...told, signature: document.getElementById("about-signature").dataset.signature, signer: text("about-signature"),
        prompt: text("about-prompt"), output: text("about-output"), marked: document.querySelector("#about-output mark")?.textContent, asksForPrompt: !document.getElementById("private").hidden,
      };
    });
  const finished = async () => {
    const now = await look();
    return now.state === "idle" || now.state === "running" ? null : now;
  };
  return until("there is a verdict", finished, 240, async () => JSON.stringify(await look()));
}

inEachBrowser("receipts", (scenario, name) => {
  scenario("both sides of a run have the same receipt, and its link verifies it", async (tab) => {
    await open(tab, `${server.url}/web/`);
    await watchFiles(tab);
    await generate(tab);
    assert.deepEqual(await offered(tab, ["native-receipt", "browser-receipt"]), [RECEIPT, RECEIPT]);
    const [link, same] = await tab.evaluate(() => ["native", "browser"].map((side) => document.getElementById(`${side}-verify`).href));
    assert.equal(link, same);
    await tab.goto(link);
    const found = await verdict(tab);
    assert.deepEqual([found.verdict, found.signature, found.prompt], ["MATCH", "none", "Once upon a time"], JSON.stringify(found));
    assert.match(found.output, /^, the city of Nova Haven/);
  });

  scenario("every verdict, from a link and from a file", async (tab) => {
    const changed = (from, to) => RECEIPT.replace(from, () => to);
    assert.equal((await openLinked(tab, RECEIPT)).verdict, "MATCH");
    for (const [receipt, expected, step, words] of [
      [changed("[28,260,2240,", "[28,260,2241,"), "MISMATCH", "3", /the token is 2240, and not 2241/],
      [changed('"4e4fc6', '"4e4fc7'), "MISMATCH", "1", /logits/],
      [changed('"transcript_sha256":"3', '"transcript_sha256":"4'), "MISMATCH", "", /transcript/],
      [changed('"weights_sha256":"a', '"weights_sha256":"b'), "CANNOT_VERIFY", "", /weights/],
      [changed("lockstep/1", "lockstep/9"), "CANNOT_VERIFY", "", /lockstep\/9/],
      [`${RECEIPT}\n`, "MALFORMED", "", /canonical/],
      ["", "MALFORMED", "", /JSON/],
    ]) {
      const found = await choose(tab, receipt);
      assert.deepEqual([found.verdict, found.step], [expected, step], JSON.stringify(found));
      if (step === "3") assert.equal(found.marked, "new", "the token that is another one");
      assert.match(found.why, words);
    }
    // After all of that, the one that is right.
    assert.equal((await choose(tab, RECEIPT)).verdict, "MATCH");
  });

  scenario("a signature is told apart, and a private receipt asks for its prompt", async (tab) => {
    const key = join(folder, `key-${name}`);
    const publicKey = run(["keygen", key]);
    const signed = await issue(`signed-${name}.json`, ["--sign", key]);
    const found = await openLinked(tab, signed);
    assert.deepEqual([found.verdict, found.signature], ["MATCH", "valid"], JSON.stringify(found));
    assert.ok(found.signer.includes(publicKey), found.signer);
    const forged = JSON.parse(signed);
    forged.signature.value = "0".repeat(128);
    const other = await choose(tab, JSON.stringify(forged));
    assert.deepEqual([other.verdict, other.signature], ["MATCH", "invalid"], JSON.stringify(other));

    const hidden = await issue(`private-${name}.json`, ["--private", "--temperature", "1", "--seed", "9"]);
    const refused = await choose(tab, hidden);
    assert.deepEqual([refused.verdict, refused.asksForPrompt], ["CANNOT_VERIFY", true], JSON.stringify(refused));
    assert.equal((await give(tab, "prompt", "Once upon a time")).verdict, "MATCH");
  });

  scenario("a private training is verified with its data", async (tab) => {
    const [data, receipt] = ["data.jsonl", "training.json"].map((file) => join(folder, `${name}-${file}`));
    const lines = '{"text":"The cat sat on the mat."}\n{"messages":[{"role":"user","content":"Hi"},{"role":"assistant","content":"Hello"}]}\n';
    await writeFile(data, lines);
    run(["train", "--model", setting("LOCKSTEP_E2E_MODEL"), "--data", data, "--method", "lora", "--steps", "2", "--learning-rate", "0.01", "--private", "--receipt", receipt]);
    await openLinked(tab, "");
    const refused = await choose(tab, await readFile(receipt, "utf8"));
    assert.deepEqual([refused.verdict, refused.asksForPrompt], ["CANNOT_VERIFY", true], JSON.stringify(refused));
    const other = await give(tab, "text", "The cat sat on the mat.");
    assert.deepEqual([other.verdict, other.asksForPrompt], ["CANNOT_VERIFY", true], JSON.stringify(other));
    const broken = await give(tab, "data", "no JSON");
    assert.deepEqual([broken.state, broken.asksForPrompt], ["error", true], JSON.stringify(broken));
    assert.match(broken.failure, /line 1/);
    assert.equal((await give(tab, "data", lines)).verdict, "MATCH");
  });

  scenario("a drawn answer with a stop string is the same on both sides, and each verifies the other's receipt", async (tab) => {
    const [file, mine, theirs] = ["messages.json", "native.json", "browser.json"].map((file) => join(folder, `${name}-${file}`));
    const messages = [{ role: "user", content: "What lives in the sea? <|im_end|>" }];
    await writeFile(file, JSON.stringify(messages));
    const penalties = "--repetition-penalty 1.1 --frequency-penalty 0.1 --presence-penalty -0.1 --logit-bias 28:-1.5";
    const flags = `--max-tokens 60 --temperature 0.9 --top-k 50 --top-p 0.95 --min-p 0.02 ${penalties} --seed 11`.split(" ");
    const model = ["--model", setting("LOCKSTEP_E2E_MODEL")];
    const text = run(["generate", ...model, "--messages", file, ...flags, "--stop", "no such text", "--stop", "s ", "--receipt", mine], { trim: false });
    const native = await readFile(mine, "utf8");
    assert.match(native, /"finish_reason":"stop".*"stop":\["no such text","s "\]/);
    await tab.goto(`${server.url}/web/icon.svg`);
    const found = await tab.evaluate(
      async (messages, native) => {
        const { Engine } = await import("./engine.js");
        const engine = await Engine.load({ baseUrl: (await (await fetch("../api/status")).json()).modelUrl });
        const penalties = { repetitionPenalty: 1.1, frequencyPenalty: 0.1, presencePenalty: -0.1, logitBias: { 28: -1.5 } };
        const settings = { maxTokens: 60, temperature: 0.9, topK: 50, topP: 0.95, minP: 0.02, ...penalties, seed: 11 };
        const tokens = [];
        for await (const token of engine.generate({ messages, ...settings, stop: ["no such text", "s "] })) tokens.push(token);
        const { verdict, why } = await engine.verify(native);
        const stopping = new AbortController();
        const steps = [];
        let reason;
        try {
          for await (const { step } of engine.generate({ messages, ...settings, signal: stopping.signal })) {
            steps.push(step);
            if (step === 2) stopping.abort();
          }
        } catch (error) {
          reason = error.name;
        }
        engine.dispose();
        const { finishReason, receipt } = tokens.at(-1);
        return { text: tokens.map(({ tokenText }) => tokenText).join(""), finishReason, receipt, verdict, why, steps, reason };
      },
      messages,
      native,
    );
    assert.deepEqual([found.receipt, found.text, found.finishReason], [native, text, "stop"]);
    assert.deepEqual([found.verdict, found.why], ["MATCH", null]);
    assert.deepEqual([found.steps, found.reason], [[1, 2], "AbortError"]);
    await writeFile(theirs, found.receipt);
    assert.match(run(["verify", ...model, theirs]), /^MATCH: generation/);
  });

  scenario("trainings have receipts, the same on both sides, and the engine verifies them", async (tab) => {
    await open(tab, `${server.url}/web/`);
    await watchFiles(tab);
    const text = "The cat sat on the mat.";
    await train(tab, { native: text, browser: text }, { method: "lora", steps: 2 });
    const texts = await offered(tab, ["train-native-receipt", "train-browser-receipt"]);
    assert.equal(texts[0], texts[1]);
    await fetch(`${server.url}/api/train/reset`, { method: "POST" });
    assert.equal(JSON.parse(texts[0]).training.loss_bits.length, 2);
    await tab.goto(`${server.url}/web/icon.svg`);
    const [verdicts, stopped] = await tab.evaluate(
      async (receipt, changed) => {
        const { Engine } = await import("./engine.js");
        const { modelUrl } = await (await fetch("../api/status")).json();
        const engine = await Engine.load({ baseUrl: modelUrl });
        const verdicts = [];
        for (const one of [receipt, JSON.parse(receipt), changed]) {
          const { verdict, step, kind } = await engine.verify(one);
          verdicts.push([verdict, step, kind]);
        }
        const stopping = new AbortController();
        const stopped = engine.verify(receipt, { signal: stopping.signal, onProgress: () => stopping.abort() });
        const reason = await stopped.then(() => "it ended", (error) => error.name);
        engine.dispose();
        return [verdicts, reason];
      },
      texts[0],
      texts[0].replace(/"loss_bits":\["\w+","\w/, (match) => `${match.slice(0, -1)}${match.endsWith("4") ? "3" : "4"}`),
    );
    assert.deepEqual(verdicts, [["MATCH", null, "training"], ["MATCH", null, "training"], ["MISMATCH", 2, "training"]]);
    assert.equal(stopped, "AbortError");
  });
});
