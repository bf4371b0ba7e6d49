import { existsSync } from "node:fs";
import path from "node:path";
import readline from "node:readline";
import { fileURLToPath } from "node:url";

import { startChild } from "./children.mjs";
import { settled, waitFor } from "./wait.mjs";

export const SECRET = "a-key-for-the-client-tests";

const folder = fileURLToPath(new URL("..", import.meta.url));

function binary() {
  const candidates = process.env.RELAY_BINARY
    ? [process.env.RELAY_BINARY]
    : ["../../target/release/refresh-relay", "../../target/debug/refresh-relay"];
  const found = candidates.map((file) => path.resolve(folder, file)).find(existsSync);
  if (!found) {
    throw new Error(
      `no relay at ${candidates.join(" or ")} (seen from ${folder}): build it or set RELAY_BINARY`,
    );
  }
  return found;
}

// Settings of the surrounding shell must not reach the node under test.
function cleanEnvironment() {
  return Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !name.startsWith("RELAY_")),
  );
}

/** Starts a node on free ports and waits until it is ready. `env` adds settings. */
export async function startRelay(redisUrl, env = {}) {
  const relay = startChild(binary(), [], {
    stdio: ["ignore", "ignore", "pipe"],
    env: {
      ...cleanEnvironment(),
      RELAY_SERVER__BIND: "127.0.0.1:0",
      RELAY_ADMIN__BIND: "127.0.0.1:0",
      RELAY_REDIS__URL: redisUrl,
      RELAY_PUBLISH__SECRET: SECRET,
      RELAY_LOG__FORMAT: "json",
      ...env,
    },
  });
  const log = [];
  const listening = new Promise((resolve) => {
    readline.createInterface({ input: relay.child.stderr }).on("line", (line) => {
      log.push(line);
      // A panic is plain text between the JSON lines.
      const entry = line.startsWith("{") ? JSON.parse(line) : {};
      if (entry.message === "listening") resolve(entry);
    });
  });
  const gone = relay.exited.then(({ code, signal }) => {
    throw new Error(`the node ended at its start (${signal ?? code}):\n${log.join("\n")}`);
  });
  gone.catch(() => {});

  const { public: host, admin } = await settled("the node listens", Promise.race([listening, gone]));
  const node = {
    host,
    isReady: () => isReady(admin),
    terminate: () => relay.child.kill("SIGTERM"),
    exited: relay.exited,
  };
  await waitFor("the node is ready", node.isReady, { shown: () => log });
  return node;
}

/** What a load balancer asks before it sends somebody to a node. */
async function isReady(admin) {
  try {
    const answer = await fetch(`http://${admin}/readyz`, { signal: AbortSignal.timeout(2_000) });
    await answer.arrayBuffer();
    return answer.status === 200;
  } catch {
    return false;
  }
}

/** Waits until the nodes together know `count` sockets in a room. */
export async function waitForConnections(node, room, count) {
  let last;
  await waitFor(
    `${count} connections in room ${room}`,
    async () => {
      const answer = await fetch(`http://${node.host}/v1/rooms/${room}`, {
        headers: { authorization: `Bearer ${SECRET}` },
      });
      last = { status: answer.status, body: await answer.text() };
      return answer.status === 200 && JSON.parse(last.body).connections === count;
    },
    { shown: () => last },
  );
}
