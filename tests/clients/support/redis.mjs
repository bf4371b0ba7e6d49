import net from "node:net";
import readline from "node:readline";

import { startChild } from "./children.mjs";
import { settled } from "./wait.mjs";

function freePort() {
  return new Promise((resolve, reject) => {
    const probe = net.createServer();
    probe.once("error", reject);
    probe.listen(0, "127.0.0.1", () => {
      const { port } = probe.address();
      probe.close(() => resolve(port));
    });
  });
}

async function tryPort(port) {
  const args = ["--port", `${port}`, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"];
  const redis = startChild("redis-server", args, { stdio: ["ignore", "pipe", "inherit"] });
  const accepting = new Promise((resolve) => {
    readline.createInterface({ input: redis.child.stdout }).on("line", (line) => {
      if (line.includes("Ready to accept connections")) resolve(true);
    });
  });
  const ended = redis.exited.then(() => false);
  return settled("redis-server accepts connections", Promise.race([accepting, ended]));
}

/** Starts an own redis-server without persistence, on a port that nobody else holds; returns its URL. */
export async function startRedis() {
  // Another process may take a port between the moment it was found free and the start: then the
  // server ends by itself and the next port is tried.
  for (let attempt = 0; attempt < 10; attempt += 1) {
    const port = await freePort();
    if (await tryPort(port)) return `redis://127.0.0.1:${port}`;
  }
  throw new Error("redis-server did not start on any of ten free ports");
}
