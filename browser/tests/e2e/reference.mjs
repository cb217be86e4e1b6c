// 25 greedy tokens of the real model, and their receipt: the published vectors. (The ids are those of Hugging Face transformers too: see
// host/tests/reference.)
import { readFileSync } from "node:fs";

const vector = (name) => readFileSync(new URL(`../../../docs/vectors/${name}`, import.meta.url), "utf8");

const real = JSON.parse(vector("real.json"));
export const { prompt: PROMPT, prompt_token_ids: PROMPT_IDS, token_ids: GREEDY_IDS, text: TEXT, logits_sha256: LOGITS_SHA256 } = real;
export const RECEIPT = vector("real-receipt.json");
