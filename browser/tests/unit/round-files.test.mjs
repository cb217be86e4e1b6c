import assert from "node:assert/strict";
import { test } from "node:test";
import { pairAdapters, readRoundFiles } from "../../page/round-files.js";

const file = (name, content) => new File([typeof content === "string" ? content : JSON.stringify(content)], name);
const config = (r) => file("adapter_config.json", { peft_type: "LORA", r });
const receipt = (kind) => ({ format: "lockstep-receipt/1", [kind]: {} });

test("files are known by what is in them, whatever they are called", async () => {
  const found = await readRoundFiles([
    file("a.safetensors", "A"), file("x.json", receipt("training")), config(1), file("y.JSON", receipt("aggregation")), file("a (1).safetensors", "B"),
  ]);
  assert.deepEqual(found.weights.map(({ name, bytes }) => [name, bytes.length]), [["a.safetensors", 1], ["a (1).safetensors", 1]]);
  assert.deepEqual([found.configs.length, found.receipts[0].name, found.rounds[0].name], [1, "x.json", "y.JSON"]);
});

test("what is no file of a client is refused by its name", async () => {
  for (const [wrong, words] of [
    [file("model.bin", ""), /model\.bin is not a file of a client/],
    [file("broken.json", "{"), /broken\.json is not JSON/],
    [file("other.json", { a: 1 }), /other\.json is neither/],
    [file("null.json", "null"), /null\.json is neither/],
    [file("generation.json", receipt("generation")), /generation\.json is neither/],
    [{ name: "large.safetensors", size: 2e9 }, /large\.safetensors has 2000000000 bytes/],
  ]) {
    await assert.rejects(readRoundFiles([wrong]), words);
  }
});

test("each adapter has its own settings, or all have the one there is", () => {
  const weights = ["a", "b"].map((name) => ({ name, bytes: new Uint8Array([name.charCodeAt(0)]) }));
  const [one, two] = [new Uint8Array([1]), new Uint8Array([2])];
  assert.deepEqual(pairAdapters([one, two], weights).map(({ config }) => config), [one, two]);
  assert.deepEqual(pairAdapters([one], weights).map(({ config, weights }) => [config, weights[0]]), [[one, 97], [one, 98]]);
  assert.throws(() => pairAdapters([one, two, one], weights), /2 adapter_model\.safetensors and 3 adapter_config\.json/);
});
