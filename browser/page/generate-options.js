// What a generation is asked for, checked before anything is sent to the worker.

import { turns } from "./train-options.js";

/**
 * The settings of `Engine.generate` as the worker takes them; the ranges of the sampler's are the engine's matter.
 * @param {import("./engine.js").GenerateOptions} options
 * @throws {TypeError | RangeError} which names the option that is wrong
 */
export function generateSettings({ prompt, messages, maxTokens = 25, stop = [], private: hidden = false, ...settings }) {
  if ((prompt === undefined) === (messages === undefined)) throw new TypeError("generate takes either prompt or messages");
  if (!(Number.isInteger(maxTokens) && maxTokens >= 1)) throw new RangeError(`maxTokens is an integer from 1 on, not ${maxTokens}`);
  if (typeof hidden !== "boolean") throw new TypeError(`private is true or false, not ${hidden}`);
  return { ...promptOf({ prompt, messages }), maxTokens, stop: stopOf(stop), sampling: samplingOf(settings), private: hidden };
}

/**
 * A prompt as the worker takes it: a text or token ids, or the roles and contents of messages by turns.
 * @param {{prompt?: string | ArrayLike<number>, messages?: {role: string, content: string}[]}} options
 */
export function promptOf({ prompt, messages }) {
  return messages === undefined ? { prompt } : { turns: turns(messages) };
}

/** The strings before which a text ends. @param {string | string[]} stop */
function stopOf(stop) {
  const strings = Array.isArray(stop) ? stop : [stop];
  for (const string of strings) {
    if (typeof string !== "string") throw new TypeError(`stop is a string or an array of strings, not ${string}`);
  }
  return strings;
}

/** The settings of the sampler, complete. */
function samplingOf({ topK = 0, logitBias = {}, seed = 0, ...others }) {
  const { temperature = 0, topP = 1, minP = 0, repetitionPenalty = 1, frequencyPenalty = 0, presencePenalty = 0, ...unknown } = others;
  for (const name of Object.keys(unknown)) throw new TypeError(`generate has no option ${name}`);
  const numbers = { temperature, topP, minP, repetitionPenalty, frequencyPenalty, presencePenalty };
  for (const [name, value] of Object.entries(numbers)) {
    if (typeof value !== "number") throw new TypeError(`${name} is a number, not ${value}`);
  }
  if (!(Number.isInteger(topK) && topK >= 0 && topK < 2 ** 32)) throw new RangeError(`topK is an integer from 0 on, not ${topK}`);
  const exact = typeof seed === "bigint" || Number.isSafeInteger(seed);
  if (!(exact && seed >= 0 && seed < 2n ** 64n)) throw new RangeError(`seed is an integer from 0 on, above 2^53 a BigInt, not ${seed}`);
  return { ...numbers, topK, ...biasesOf(logitBias), seed: BigInt(seed) };
}

/** The tokens that are biased, and by how much. @param {Record<number, number>} logitBias */
function biasesOf(logitBias) {
  if (typeof logitBias !== "object" || logitBias === null) throw new TypeError(`logitBias is an object, not ${logitBias}`);
  for (const [token, bias] of Object.entries(logitBias)) {
    const id = Number(token);
    if (String(id) !== token || !(Number.isInteger(id) && id >= 0 && id < 2 ** 32)) throw new RangeError(`logitBias: ${token} is no token id`);
    if (typeof bias !== "number") throw new TypeError(`logitBias: the bias of token ${token} is a number, not ${bias}`);
  }
  return { biased: Uint32Array.from(Object.keys(logitBias), Number), biases: Float64Array.from(Object.values(logitBias)) };
}
