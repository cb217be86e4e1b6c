/** One generated token. */
export interface Token {
  /** Counts from 1. */
  step: number;
  tokenId: number;
  /** All texts joined are the whole text; "" for the end-of-text token, part of a character, and what may become a stop string. */
  tokenText: string;
  /** SHA-256 of the step's logits (little-endian f32), 64 hexadecimal digits. */
  logitsSha256: string;
  /** On the last token: "stop" (end of text, or a stop string) or "length"; otherwise null. */
  finishReason: "stop" | "length" | null;
  /** On the last token: the digest that chains model, prompt and every step; otherwise null. */
  transcriptSha256: string | null;
  /** On the last token: the receipt of the generation, canonical JSON that `verify` and `lockstep verify` take; otherwise null. */
  receipt: string | null;
}

/** Progress of loading. */
export interface LoadProgress {
  file: string;
  /** Bytes of this file. */
  loaded: number;
  total: number;
  /** Bytes of all files. */
  allLoaded: number;
  allTotal: number;
  /** Whether these bytes came from the browser's cache. */
  fromCache: boolean;
}

export interface LoadOptions {
  /** The model folder's address: it holds `manifest.json` and the files that this names. */
  baseUrl: string | URL;
  /** Sent with every request for those files, for instance an `Authorization`. */
  headers?: Record<string, string>;
  onProgress?: (progress: LoadProgress) => void;
  /** Rejects with the signal's reason, by default an `AbortError`; what was downloaded stays in the cache. */
  signal?: AbortSignal;
  /** "auto" (the default) takes simd128 where the browser has it. All give the same bits. */
  backend?: "auto" | "simd128" | "scalar";
  /**
   * From 1 to 64; as many as there are cores, up to 8, unless told. More than one needs a page that is cross-origin isolated
   * (its server sends `Cross-Origin-Opener-Policy: same-origin` and `Cross-Origin-Embedder-Policy: require-corp`); elsewhere
   * there is one. Any number gives the same bits.
   */
  threads?: number;
}

/** What is continued: a prompt, or a conversation. Prompt and tokens together must fit the context. */
export type Prompt =
  | {
      /** A text, in which special tokens are recognised, or token ids. */
      prompt: string | ArrayLike<number>;
      messages?: undefined;
    }
  | {
      /**
       * Written by the model's chat template, which the assistant's answer follows; at least one. Roles are "system", "user" and
       * "assistant". Contents are plain text.
       */
      messages: { role: string; content: string }[];
      prompt?: undefined;
    };

export type GenerateOptions = Prompt & {
  /** At least 1; 25 unless told. */
  maxTokens?: number;
  /**
   * The text ends before the first of these that it comes to have, wherever tokens begin and end; the tokens up to the one that
   * completes it are given. At most 16 strings of at most 256 bytes in UTF-8, none of them empty.
   */
  stop?: string | string[];
  /** Whether the receipt has the digests of prompt and output only, not their token ids; false unless told. */
  private?: boolean;
  /** Stops at once, the worker after the two tokens at most that it was asked for; rejects with the signal's reason, by default an `AbortError`. */
  signal?: AbortSignal;
  /** Tells how much of the prompt has been read. */
  onPrefill?: (progress: { done: number; total: number }) => void;
  /** What logits are divided by before a token is drawn; 0 (the default) takes the most likely token. */
  temperature?: number;
  /** How many of the most likely tokens are drawn from; 0 (the default) for all. */
  topK?: number;
  /** The probability that the tokens drawn from have together; 1 (the default) for all. */
  topP?: number;
  /** How likely, relative to the most likely token, those drawn from are at least; 0 unless told. */
  minP?: number;
  /** What the logits of tokens that occur already are divided by (negative ones multiplied); 1 unless told. */
  repetitionPenalty?: number;
  /** What is taken from the logits of generated tokens for each time that they are in the output, from -2 to 2; 0 unless told. */
  frequencyPenalty?: number;
  /** What is taken from the logits of generated tokens once, from -2 to 2; 0 unless told. */
  presencePenalty?: number;
  /** What is added to the logits of single tokens, by their ids, from -100 to 100; at most 1,024 of them. */
  logitBias?: Record<number, number>;
  /** The same seed gives the same tokens everywhere; 0 unless told. */
  seed?: number | bigint;
};

/** What to learn: a text, or a conversation. */
export type Lesson =
  | {
      /** One sequence, the same in every step; special tokens are recognised. At least 2 tokens, at most the context. */
      text: string;
      messages?: undefined;
    }
  | {
      /** Written by the model's chat template; only the assistant's answers are learnt. Contents are plain text. */
      messages: { role: string; content: string }[];
      text?: undefined;
    };

/** What learns. */
export type Method =
  | {
      /** All weights: the default. */
      method?: "full";
      rank?: undefined;
      alpha?: undefined;
      targets?: undefined;
      seed?: undefined;
    }
  | {
      /** A low-rank adapter (LoRA) beside the weights, which stay as they are. */
      method: "lora";
      /** From 1 to the model's width; 8 unless told. */
      rank?: number;
      /** `alpha / rank` scales the adapter; 16 unless told. */
      alpha?: number;
      /** The layers that have one: of q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj. q_proj and v_proj unless told. */
      targets?: string[];
      /** Where the adapter begins, an integer from 0 on; 0 unless told. */
      seed?: number;
    };

export type TrainOptions = Lesson & Method & {
  /** At least 1; 5 unless told. */
  steps?: number;
  /**
   * A positive number, the same in all steps. Unless told 0.001 (full, sgd), 0.00003 (full, adamw), 0.05 (lora, sgd) or 0.002
   * (lora, adamw): a sentence is learnt in 5 to 10 steps then, and other texts stay sane.
   */
  learningRate?: number;
  /** "sgd" (the default; no momentum) or "adamw" (betas 0.9 and 0.999, eps 1e-8, no weight decay). */
  optimizer?: "sgd" | "adamw";
  /** Stops after the step under way, which counts; `train` resolves with `stopped`. Aborted before, it rejects. */
  signal?: AbortSignal;
  onStep?: (step: TrainStep) => void;
  /** Whether the receipt leaves out what is learnt, and has its digest only; false unless told. */
  private?: boolean;
};

/** One step of a training. */
export interface TrainStep {
  /** Counts from 1. */
  step: number;
  /** Mean cross-entropy over the text's next tokens before the step, in nats. */
  loss: number;
  /** The bits of the loss, 8 hexadecimal digits. */
  lossBits: string;
  /** Norm of all gradients together, those of the adapter where one is trained. */
  gradNorm: number;
  tokens: number;
  learningRate: number;
}

export interface TrainResult {
  /** Steps that were made. */
  steps: number;
  /** The loss of each. */
  losses: number[];
  /** The digest of the weights after the last step, all of type F32. Of the base weights after no step, or beside an adapter. */
  weightsSha256: string;
  /** The digest of the adapter, null where all weights were trained. */
  adapterSha256: string | null;
  /** What the training is known by: base, text, settings, every step, and what came out. Null after no step. */
  transcriptSha256: string | null;
  /** The receipt of the training, which `verify` and `lockstep verify` take. Null after no step. */
  receipt: string | null;
  /** Whether the signal came before the last step. */
  stopped: boolean;
}

export interface EngineInfo {
  /** The folder's name in the manifest. */
  name: string;
  /** Where the weights come from ("hub", "wheel", ...), as the manifest says. */
  source: string;
  /** The digest of the weights as they were loaded. */
  weightsSha256: string;
  /** The digest of the adapter in use, kept up to date; null where there is none. */
  adapterSha256: string | null;
  /** "wasm-simd128" or "scalar". */
  backend: string;
  /** How many threads compute. */
  threads: number;
  /** Why there is only one thread, or null where there are more. */
  oneThread: string | null;
  /** The kernel's golden bits: null where the self-test passed, otherwise what differs. */
  selfTest: string | null;
  /** Longest prompt and output together, in tokens. */
  context: number;
  bytesFromCache: number;
  bytesFromNetwork: number;
  /** Why the files were not kept in the browser's cache, or null where they were. */
  notCached: string | null;
  /** Bytes of WebAssembly memory, kept up to date by all that computes. It never shrinks. */
  memoryBytes: number;
}

export interface VerifyOptions {
  /** Stops within one step; rejects with the signal's reason, by default an `AbortError`. */
  signal?: AbortSignal;
  /** Tells how many tokens have been read, or how many steps a training has made. */
  onProgress?: (progress: { done: number; total: number }) => void;
  /** The prompt of a receipt that leaves it out, as text or token ids. */
  prompt?: string | ArrayLike<number>;
  /** Such a prompt as the conversation that it was. */
  messages?: { role: string; content: string }[];
  /** The text of a training or a scoring whose receipt leaves it out. */
  text?: string;
  /** Such texts as JSON lines, as `lockstep verify --data` reads them; those longer than the context are cut. */
  data?: string | ArrayBuffer | Uint8Array;
  /** The adapters of the clients, which the receipt of an aggregation does not have; in any order. */
  adapters?: AdapterInput[];
}

/** What verifying a receipt says. */
export interface Verification {
  /**
   * "MATCH": computed again, everything is as the receipt says, to the last bit. "MISMATCH": something is not. "CANNOT_VERIFY": it is
   * of another model, or something is missing. "MALFORMED": it is no receipt.
   */
  verdict: "MATCH" | "MISMATCH" | "CANNOT_VERIFY" | "MALFORMED";
  /** Of a mismatch, the first step that is not as the receipt says; null where all steps are and something else is not. */
  step: number | null;
  /** Why it is no match; null where it is one. */
  why: string | null;
  /** What the receipt is of. This and what follows is missing where it is malformed. */
  kind?: "generation" | "training" | "scoring" | "aggregation";
  /** The steps that it tells of; of a scoring the lines, of an aggregation the clients. */
  steps?: number;
  /** Whether it leaves token ids out. */
  isPrivate?: boolean;
  /** Whether `publicKey` has signed it: that says nothing about the computation. */
  signature?: "none" | "valid" | "invalid";
  /** The key that the receipt names, 64 hexadecimal digits. */
  publicKey?: string | null;
  /** The tokens of the prompt and those generated, where it has them. */
  promptIds?: Uint32Array | null;
  tokenIds?: Uint32Array | null;
}

/** An adapter as the two files that Python's `peft` and `lockstep` take. */
export interface AdapterFiles {
  /** The bytes of `adapter_config.json`. */
  config: Uint8Array;
  /** The bytes of `adapter_model.safetensors`. */
  weights: Uint8Array;
}

/** An adapter's two files, as they were read. */
export interface AdapterInput {
  config: ArrayBuffer | ArrayBufferView;
  weights: ArrayBuffer | ArrayBufferView;
}

export interface AggregateOptions {
  /** How much each adapter counts, in the order of the adapters: integers from 1 on. All the same unless told. */
  weights?: number[];
  /** The private receipts of the trainings that gave the adapters, one of each, in any order; none unless told. */
  receipts?: (string | ArrayBuffer | ArrayBufferView | object)[];
}

/** One adapter made of several. */
export interface Aggregate {
  files: AdapterFiles;
  adapterSha256: string;
  /** The receipt of the aggregation, which `verify` and `lockstep verify` take together with the adapters. */
  receipt: string;
}

/**
 * A model in a worker of its own. Generations may run at the same time; they take turns token by token, each with its own
 * cache. Weights never change under a generation: while one is under way `train`, `loadAdapter` and `reset` reject, and
 * while a training is under way `generate`, `gradients`, `exportAdapter`, `loadAdapter` and another `train` do. Every method rejects after `dispose`, and after an internal
 * error, which closes the engine.
 */
export class Engine {
  private constructor();
  readonly info: EngineInfo;
  /** The digest of the weights in use: the loaded ones, or those of the last training. */
  readonly weightsSha256: string;
  /** The digest of the adapter in use beside them; null where there is none. */
  readonly adapterSha256: string | null;
  /**
   * Loads a model and checks every byte against its manifest.
   * Rejects with an error that names the file or the tensor, and what to do.
   */
  static load(options: LoadOptions): Promise<Engine>;
  /** Generates, greedily unless told. Leaving the loop stops it. */
  generate(options: GenerateOptions): AsyncGenerator<Token, void, void>;
  /**
   * Trains all weights, or an adapter, in binary32. Every training begins with the weights as they were loaded, without an
   * adapter, so that the same call gives the same result; afterwards texts are generated with it. It rejects before
   * anything is computed if an option is wrong, there is nothing to learn, the text is too long, or memory will not suffice.
   * After an error on the way the base weights are in use.
   */
  train(options: TrainOptions): Promise<TrainResult>;
  /**
   * Computes again what a receipt tells: a generation by reading all of its tokens at once, a training by training again. The
   * verdict is about the weights in use if the receipt is of them, otherwise about the loaded ones. Whatever the receipt is, text,
   * bytes or object, there is a verdict; it rejects only if stopped, if `messages`, `text`, `data` or `adapters` cannot be read, while the model is being trained, or if the engine fails.
   */
  verify(receipt: string | ArrayBuffer | ArrayBufferView | object, options?: VerifyOptions): Promise<Verification>;
  /** The adapter in use and its digest. The files are byte for byte those of `lockstep train --method lora --save`. */
  exportAdapter(): Promise<AdapterFiles & { adapterSha256: string }>;
  /**
   * Puts an adapter beside the weights as they were loaded, in place of what was trained or loaded before. Rejects with the
   * reason, and changes nothing, if the files are no adapter of this model.
   */
  loadAdapter(files: AdapterInput): Promise<void>;
  /**
   * Makes one adapter of several that clients trained beside the loaded weights: the weighted mean of what they add to them. In
   * whatever order they come, the same bits as `lockstep aggregate`. What is in use stays in use. Rejects with the reason if they
   * do not fit together, or a receipt is not of the training that gave one of them.
   */
  aggregate(adapters: AdapterInput[], options?: AggregateOptions): Promise<Aggregate>;
  /** Goes back to the weights as they were loaded, without an adapter. */
  reset(): Promise<void>;
  /**
   * The loss of a text under the weights in use, and the weights digest taken over its gradients: of every parameter, or of
   * the adapter's where one is in use, type F32. `lockstep gradients --json` gives the same.
   */
  gradients(options: { text: string }): Promise<{ loss: number; lossBits: string; gradientsSha256: string }>;
  /** Token ids of a text; with `plainSpecial` special tokens are plain text. */
  encode(text: string, options?: { plainSpecial?: boolean }): Promise<Uint32Array>;
  /** Text of token ids, special tokens included. Rejects for an id that the vocabulary does not have. */
  decode(ids: ArrayLike<number>): Promise<string>;
  /** Ends the worker, which frees its memory. */
  dispose(): void;
  /** What a folder holds, without loading it: name, size of its files, and how many of these bytes are in the cache. */
  static inspect(options: { baseUrl: string | URL }): Promise<{ name: string; bytes: number; cachedBytes: number }>;
  /** Bytes of model files in this browser's cache; `unavailable` tells why there is none. */
  static cacheSize(): Promise<{ bytes: number; unavailable: string | null }>;
  /** Deletes all model files from this browser's cache. */
  static deleteCache(): Promise<void>;
}
