// Requests to the worker as promises. Every way in which the worker can end rejects what is under way.

export class WorkerConnection {
  #worker;
  #pending = new Map();
  #calls = 0;
  #closed = null;

  /**
   * @param {Worker} worker one that has just been made
   * @param {(event: object) => void} onProgress takes what the worker reports between request and answer
   */
  constructor(worker, onProgress) {
    this.#worker = worker;
    this.#worker.onmessage = ({ data }) => {
      if (data.progress) onProgress(data.progress);
      else this.#settle(data);
    };
    this.#worker.onerror = (event) => this.close(`the engine's worker failed: ${event.message ?? "it could not be started"}`);
    this.#worker.onmessageerror = () => this.close("a message of the engine's worker could not be read");
  }

  /** Asks the worker; rejects with its error. */
  call(operation, args) {
    if (this.#closed !== null) return Promise.reject(new Error(this.#closed));
    return new Promise((resolve, reject) => {
      const id = ++this.#calls;
      this.#pending.set(id, { resolve, reject });
      this.#worker.postMessage({ id, operation, args });
    });
  }

  /** Ends the worker; everything under way and to come is rejected with the reason. */
  close(reason) {
    if (this.#closed !== null) return;
    this.#closed = reason;
    this.#worker.terminate();
    for (const { reject } of this.#pending.values()) reject(new Error(reason));
    this.#pending.clear();
  }

  #settle({ id, result, error }) {
    const { resolve, reject } = this.#pending.get(id) ?? {};
    this.#pending.delete(id);
    if (!error) return resolve?.(result);
    reject?.(Object.assign(new Error(error.message), { name: error.name }));
    if (error.fatal) this.close(`the engine has stopped after an internal error, load it again: ${error.message}`);
  }
}

/** The promise, or the signal's reason (by default an `AbortError`) as soon as it is aborted. */
export async function unlessAborted(promise, signal) {
  if (!signal) return promise;
  promise.catch(() => {}); // nobody waits for it after the signal
  let onAbort;
  const aborted = new Promise((_, reject) => {
    onAbort = () => reject(signal.reason);
    if (signal.aborted) onAbort();
    else signal.addEventListener("abort", onAbort, { once: true });
  });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}
