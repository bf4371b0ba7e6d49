// Every process a test starts is registered here. `after(killChildren)` ends them, also those whose
// start was part of a failed hook; and none outlives the test process, should it go before.
import { spawn } from "node:child_process";

const running = new Map();

function killAll() {
  for (const child of running.keys()) child.kill("SIGKILL");
}

process.once("exit", killAll);
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) {
  process.once(signal, () => {
    killAll();
    process.exit(1);
  });
}

/** Starts a program. `exited` resolves to its code and signal; a program that cannot be started rejects it. */
export function startChild(program, args, options) {
  const child = spawn(program, args, options);
  const exited = new Promise((resolve, reject) => {
    child.once("error", (error) => {
      running.delete(child);
      reject(error);
    });
    child.once("close", (code, signal) => {
      running.delete(child);
      resolve({ code, signal });
    });
  });
  exited.catch(() => {});
  running.set(child, exited);
  return { child, exited };
}

/** Ends all children and waits until they are gone. */
export async function killChildren() {
  killAll();
  await Promise.allSettled([...running.values()]);
}
