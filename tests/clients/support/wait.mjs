import { setTimeout as sleep } from "node:timers/promises";

/**
 * Polls until `predicate` answers something truthy and returns that. Fails at the deadline with
 * `what` was awaited and `shown()`, what there was to see instead.
 */
export async function waitFor(what, predicate, { within = 10_000, shown } = {}) {
  const deadline = performance.now() + within;
  for (;;) {
    const answer = await predicate();
    if (answer) return answer;
    if (performance.now() >= deadline) {
      const instead = shown ? `; instead: ${JSON.stringify(shown())}` : "";
      throw new Error(`not within ${within} ms: ${what}${instead}`);
    }
    await sleep(15);
  }
}

/** Rejects if `promise` has not settled after `within` milliseconds. */
export async function settled(what, promise, within = 10_000) {
  const timer = new AbortController();
  const late = sleep(within, undefined, { signal: timer.signal }).then(() => {
    throw new Error(`not within ${within} ms: ${what}`);
  });
  late.catch(() => {});
  try {
    return await Promise.race([promise, late]);
  } finally {
    timer.abort();
  }
}
