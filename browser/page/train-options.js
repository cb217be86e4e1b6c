// What a training is asked for, checked before anything is sent to the worker.

const OPTIMIZERS = ["sgd", "adamw"];
const METHODS = ["full", "lora"];
/** What only an adapter has. */
const LORA_ONLY = ["rank", "alpha", "targets", "seed"];

/**
 * The settings of `Engine.train` as the worker takes them: texts, or messages as roles and contents by turns.
 * @param {import("./engine.js").TrainOptions} options
 * @throws {TypeError | RangeError} which names the option that is wrong
 */
export function trainSettings({ text, messages, steps = 5, learningRate, optimizer = "sgd", method = "full", private: hidden = false, ...rest }) {
  if ((text === undefined) === (messages === undefined)) throw new TypeError("train takes either text or messages");
  if (text !== undefined && typeof text !== "string") throw new TypeError(`text is a string, not ${kind(text)}`);
  if (!isCount(steps)) throw new RangeError(`steps is an integer from 1 on, not ${steps}`);
  if (!OPTIMIZERS.includes(optimizer)) throw new RangeError(`optimizer is "sgd" or "adamw", not ${kind(optimizer)}`);
  if (!METHODS.includes(method)) throw new RangeError(`method is "full" or "lora", not ${kind(method)}`);
  if (typeof hidden !== "boolean") throw new TypeError(`private is true or false, not ${kind(hidden)}`);
  learningRate ??= defaultLearningRate(method, optimizer);
  if (!(typeof learningRate === "number" && learningRate > 0 && learningRate < Infinity)) {
    throw new RangeError(`learningRate is a positive number, not ${kind(learningRate)}`);
  }
  const settings = { text, messages: text === undefined ? turns(messages) : [], learningRate, optimizer, adapter: null, private: hidden };
  const given = LORA_ONLY.filter((key) => rest[key] !== undefined);
  if (method === "lora") settings.adapter = adapterSettings(rest);
  else if (given.length > 0) throw new RangeError(`${given.join(", ")}: only for method "lora"`);
  return { steps, settings };
}

/** A rate at which a sentence is learnt in 5 to 10 steps, and other texts stay sane. */
export function defaultLearningRate(method, optimizer) {
  if (method === "full") return optimizer === "sgd" ? 1e-3 : 3e-5;
  return optimizer === "sgd" ? 0.05 : 2e-3;
}

function adapterSettings({ rank, alpha, targets, seed = 0 }) {
  if (rank !== undefined && !isCount(rank)) throw new RangeError(`rank is an integer from 1 on, not ${kind(rank)}`);
  if (alpha !== undefined && !(typeof alpha === "number" && alpha > 0 && alpha < Infinity)) {
    throw new RangeError(`alpha is a positive number, not ${kind(alpha)}`);
  }
  const names = Array.isArray(targets) && targets.length > 0 && targets.every((name) => typeof name === "string");
  if (targets !== undefined && !names) throw new TypeError('targets is an array of layer names such as ["q_proj", "v_proj"]');
  if (!(Number.isSafeInteger(seed) && seed >= 0)) throw new RangeError(`seed is an integer from 0 to ${Number.MAX_SAFE_INTEGER}, not ${kind(seed)}`);
  return { rank, alpha, targets: targets ?? [], seed };
}

/** Role and content of each message, one after the other. */
export function turns(messages) {
  const isMessage = (message) => typeof message?.role === "string" && typeof message?.content === "string";
  if (!Array.isArray(messages) || messages.length === 0 || !messages.every(isMessage)) {
    throw new TypeError('messages is an array of {role, content}, both strings, such as {role: "user", content: "Hello"}');
  }
  return messages.flatMap(({ role, content }) => [role, content]);
}

/** Whether it is an integer from 1 on, and no more than WebAssembly can count. */
export function isCount(value) {
  return Number.isInteger(value) && value >= 1 && value < 2 ** 32;
}

function kind(value) {
  return typeof value === "string" ? JSON.stringify(value) : typeof value === "object" && value !== null ? "an object" : String(value);
}
