// Child processes that are ended for certain, each by its own id.

import { spawn } from "node:child_process";

const running = new Set();
process.on("exit", () => running.forEach((child) => kill(child, "SIGKILL")));
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => process.exit(1));

/**
 * Starts a program as the leader of a process group of its own, so that its helpers end with it.
 * @returns {import("node:child_process").ChildProcess & {said: () => string}} `said` is what it wrote so far
 */
export function start(program, args, { env = {} } = {}) {
  const child = spawn(program, args, { detached: true, stdio: ["ignore", "pipe", "pipe"], env: { ...process.env, ...env } });
  running.add(child);
  let said = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (text) => (said = (said + text).slice(-100_000)));
  }
  child.said = () => said;
  child.gone = new Promise((resolve) => {
    child.on("error", (error) => {
      said += `cannot start ${program}: ${error.message}`;
      resolve();
    });
    child.on("close", resolve);
  }).then(() => running.delete(child));
  return child;
}

/** Ends the program and waits until it is gone; one that does not listen is killed. */
export async function stop(child, signal = "SIGTERM") {
  kill(child, signal);
  const patience = setTimeout(() => kill(child, "SIGKILL"), 10_000);
  await child.gone;
  clearTimeout(patience);
}

function kill(child, signal) {
  if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return;
  try {
    process.kill(-child.pid, signal);
  } catch (error) {
    if (error.code !== "ESRCH") throw error;
  }
}
