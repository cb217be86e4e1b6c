import assert from "node:assert/strict";
import { test } from "node:test";
import { sortFiles } from "../../page/adapter.js";

const file = (name, size = 10) => ({ name, size });

test("an adapter's files are known by their endings, in any order", () => {
  const [config, weights] = [file("adapter_config.json"), file("adapter_model.safetensors")];
  assert.deepEqual(sortFiles([weights, config]), { config, weights });
  const again = file("adapter_config (1).JSON");
  assert.deepEqual(sortFiles([again], { config, weights }), { config: again, weights }, "the newer one counts");
});

test("files that come one after the other are kept together", () => {
  const first = sortFiles([file("a.json")]);
  assert.deepEqual(Object.keys(first), ["config"]);
  assert.deepEqual(Object.keys(sortFiles([file("b.safetensors")], first)).sort(), ["config", "weights"]);
  assert.deepEqual(sortFiles([], first), first);
});

test("other files, and files that are too large, are refused by name", () => {
  assert.throws(() => sortFiles([file("adapter_model.bin")]), /adapter_model\.bin is not a file of an adapter/);
  assert.throws(() => sortFiles([file("x.json", 2e6)]), /x\.json has 2000000 bytes/);
  assert.throws(() => sortFiles([file("x.safetensors", 2e9)]), /x\.safetensors has 2000000000 bytes/);
});
