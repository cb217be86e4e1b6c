// All that the declarations offer, used with its type; each wrong use must be refused.

import { Engine } from "lockstep";
import type { AdapterFiles, Aggregate, EngineInfo, LoadProgress, Token, TrainResult, TrainStep, Verification } from "lockstep";

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
/** Compiles only if the types are the same, `any` included. */
function same<A, B>(_: Equal<A, B>): void {}

export async function all(signal: AbortSignal): Promise<void> {
  const about = await Engine.inspect({ baseUrl: new URL("https://example.org/model/") });
  same<typeof about, { name: string; bytes: number; cachedBytes: number }>(true);
  const cache = await Engine.cacheSize();
  same<typeof cache, { bytes: number; unavailable: string | null }>(true);
  await Engine.deleteCache();

  const onProgress = ({ file, loaded, total, allLoaded, allTotal, fromCache }: LoadProgress) =>
    `${file} ${loaded + total + allLoaded + allTotal} ${fromCache}`;
  const engine = await Engine.load({ baseUrl: "/model/", headers: { Authorization: "x" }, onProgress, signal, backend: "scalar", threads: 2 });
  same<typeof engine, Engine>(true);
  const info: EngineInfo = engine.info;
  same<typeof info.oneThread, string | null>(true);
  same<typeof engine.weightsSha256, string>(true);
  same<typeof engine.adapterSha256, string | null>(true);

  for await (const token of engine.generate({ prompt: "Hello", maxTokens: 5, stop: ["."], temperature: 0.5, seed: 7n, signal })) {
    same<typeof token, Token>(true);
    same<typeof token.finishReason, "stop" | "length" | null>(true);
  }
  const chat = { messages: [{ role: "user", content: "Hi" }], onPrefill: ({ done, total }: { done: number; total: number }) => done / total };
  for await (const { tokenText, receipt } of engine.generate({ ...chat, topK: 5, logitBias: { 28: -100 }, private: true })) {
    same<typeof tokenText, string>(true);
    const verdict: Verification = await engine.verify(receipt ?? "", { prompt: Uint32Array.of(1), signal });
    same<typeof verdict.verdict, "MATCH" | "MISMATCH" | "CANNOT_VERIFY" | "MALFORMED">(true);
  }

  const losses: number[] = [];
  const onStep = ({ loss }: TrainStep) => losses.push(loss);
  const trained: TrainResult = await engine.train({ text: "x y", steps: 2, learningRate: 0.1, optimizer: "adamw", onStep, signal });
  same<typeof trained.transcriptSha256, string | null>(true);
  await engine.train({ messages: chat.messages, method: "lora", rank: 4, alpha: 8, targets: ["q_proj"], seed: 1, private: true });
  const adapter = await engine.exportAdapter();
  same<typeof adapter, AdapterFiles & { adapterSha256: string }>(true);
  await engine.loadAdapter({ config: adapter.config, weights: adapter.weights });
  const made: Aggregate = await engine.aggregate([adapter, none()], { weights: [1, 2], receipts: [] });
  await engine.verify(made.receipt, { adapters: [made.files] });
  const { loss, lossBits, gradientsSha256 } = await engine.gradients({ text: "x y" });
  same<[typeof loss, typeof lossBits, typeof gradientsSha256], [number, string, string]>(true);
  await engine.reset();

  const ids = await engine.encode("<|im_end|>", { plainSpecial: true });
  same<typeof ids, Uint32Array>(true);
  same<Awaited<ReturnType<Engine["decode"]>>, string>(true);
  await engine.decode([1, 2]);
  same<ReturnType<Engine["dispose"]>, void>(true);
}

function none(): AdapterFiles {
  return { config: new Uint8Array(), weights: new Uint8Array() };
}

export async function refused(engine: Engine): Promise<void> {
  // @ts-expect-error an engine is loaded, not constructed
  new Engine();
  // @ts-expect-error without an address
  await Engine.load({});
  // @ts-expect-error an unknown backend
  await Engine.load({ baseUrl: "/", backend: "gpu" });
  // @ts-expect-error prompt and messages
  engine.generate({ prompt: "x", messages: [{ role: "user", content: "x" }] });
  // @ts-expect-error neither of them
  engine.generate({ maxTokens: 1 });
  // @ts-expect-error an option that does not exist
  engine.generate({ prompt: "x", max_tokens: 1 });
  // @ts-expect-error a rank without an adapter
  await engine.train({ text: "x y", rank: 4 });
  // @ts-expect-error the engine's to change
  engine.weightsSha256 = "";
}
