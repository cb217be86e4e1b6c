// Runs a WASI program in Node: `node run-wasi.mjs PROGRAM.wasm ARGUMENTS`. Its threads, where it was built for them, are workers
// that share its memory (the proposal wasi-threads). It may read the folders of LOCKSTEP_WASI_DIRS.
import { readFileSync } from 'node:fs';
import { WASI } from 'node:wasi';
import { Worker, isMainThread, workerData } from 'node:worker_threads';

/** Pages of 64 KiB: what the program asks for at least, and the most that the linker lets it have. */
const PAGES = { initial: 1024, maximum: 16384, shared: true };

const args = process.argv.slice(2);
const start = isMainThread
  ? { module: new WebAssembly.Module(readFileSync(args[0])), threads: new Int32Array(new SharedArrayBuffer(4)) }
  : workerData;
const shared = WebAssembly.Module.imports(start.module).some(({ kind }) => kind === 'memory');
const memory = start.memory ?? (shared ? new WebAssembly.Memory(PAGES) : undefined);

function spawn(argument) {
  const thread = Atomics.add(start.threads, 0, 1) + 1;
  const { module, threads } = start;
  const worker = new Worker(new URL(import.meta.url), { workerData: { module, threads, memory, thread, argument } });
  worker.on('error', (error) => {
    console.error(error);
    process.exit(1);
  });
  return thread;
}

const folders = (process.env.LOCKSTEP_WASI_DIRS ?? '').split(':').filter(Boolean);
const preopens = Object.fromEntries(folders.map((folder) => [folder, folder]));
const wasi = new WASI({ version: 'preview1', args, env: process.env, preopens });
const imports = { ...wasi.getImportObject(), env: { memory }, wasi: { 'thread-spawn': spawn } };
const instance = new WebAssembly.Instance(start.module, imports);
if (isMainThread) {
  wasi.start(instance);
} else {
  // Binds the thread's WASI to the memory; the program has begun already.
  wasi.start({ exports: { memory, _start() {} } });
  instance.exports.wasi_thread_start(start.thread, start.argument);
}
