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

export interface EngineInfo {
  /** The folder's name in the manifest. */
  name: string;
  /** Where the weights come from ("hub", "wheel", ...), as the manifest says. */
  source: string;
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
  /** Bytes of WebAssembly memory, kept up to date by `generate`. */
  memoryBytes: number;
}

/**
 * A model in a worker of its own. Generations may run at the same time; they take turns token by token, each with its own
 * cache. Every method rejects after `dispose`, and after an internal error, which closes the engine.
 */
export class Engine {
  private constructor();
  readonly info: EngineInfo;
  /**
   * Loads a model and checks every byte against its manifest.
   * Rejects with an error that names the file or the tensor, and what to do.
   */
  static load(options: LoadOptions): Promise<Engine>;
  /** Generates greedily. Leaving the loop stops it. */
  generate(options: GenerateOptions): AsyncGenerator<Token, void, void>;
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
