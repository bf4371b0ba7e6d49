// What the tests of one file run on: an own Redis, nodes on it, and an end to all of it.
import { after, afterEach } from "node:test";

import { killChildren } from "./children.mjs";
import { startRedis } from "./redis.mjs";
import { startRelay } from "./relay.mjs";
import { closeSockets } from "./sockets.mjs";

/** Starts that many nodes on a Redis of their own. `env` adds settings. */
export async function startNodes(count, env) {
  const redisUrl = await startRedis();
  return Promise.all(Array.from({ length: count }, () => startRelay(redisUrl, env)));
}

/** For a `describe`: ends the sockets that each test left open, and at last the nodes and their Redis. */
export function endAfterwards() {
  afterEach(closeSockets);
  after(killChildren);
}
