// The files of a round's clients: which is what, and which belong together.

const FORMAT = "lockstep-receipt/";
/** What a file of each kind may have at most: far more than it needs, far less than a mistake may bring. */
const LIMITS = { json: 40e6, safetensors: 1e9 };

/**
 * What dropped files are, by their endings and contents, in the order in which they came.
 * @param {Iterable<File>} files
 * @returns {Promise<{configs: Uint8Array[], weights: {name: string, bytes: Uint8Array}[], receipts: object[], rounds: object[]}>}
 *   `receipts` are of trainings, `rounds` of aggregations: each `{name, bytes, content}`
 * @throws {Error} which names the file that is none of them
 */
export async function readRoundFiles(files) {
  const found = { configs: [], weights: [], receipts: [], rounds: [] };
  for (const file of files) {
    const { name } = file;
    const kind = /\.(json|safetensors)$/i.exec(name)?.[1].toLowerCase();
    if (kind === undefined) throw new Error(`${name} is not a file of a client; drop adapters (.json and .safetensors) and receipts (.json)`);
    if (file.size > LIMITS[kind]) throw new Error(`${name} has ${file.size} bytes, too many for a .${kind} of a client`);
    const bytes = new Uint8Array(await file.arrayBuffer());
    if (kind === "safetensors") found.weights.push({ name, bytes });
    else sortJson(found, name, bytes);
  }
  return found;
}

function sortJson(found, name, bytes) {
  let content;
  try {
    content = JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    throw new Error(`${name} is not JSON`);
  }
  const isReceipt = typeof content?.format === "string" && content.format.startsWith(FORMAT);
  if (isReceipt && content.aggregation) found.rounds.push({ name, bytes, content });
  else if (isReceipt && content.training) found.receipts.push({ name, bytes, content });
  else if (content?.peft_type !== undefined) found.configs.push(bytes);
  else throw new Error(`${name} is neither adapter_config.json nor the receipt of a training or of a round`);
}

/**
 * Gives each adapter its settings: the one adapter_config.json that there is, or if there are as many as adapters, each its own. If
 * a pair is wrong the engine refuses it, or its settings are those of the right one: the clients of a round have the same.
 * @param {Uint8Array[]} configs
 * @param {{name: string, bytes: Uint8Array}[]} weights
 * @throws {Error} if there are some, and neither one nor as many
 */
export function pairAdapters(configs, weights) {
  if (configs.length !== 1 && configs.length !== weights.length) {
    throw new Error(`there are ${weights.length} adapter_model.safetensors and ${configs.length} adapter_config.json: drop the two files of each client`);
  }
  return weights.map(({ name, bytes }, index) => ({ name, config: configs[configs.length === 1 ? 0 : index], weights: bytes }));
}
