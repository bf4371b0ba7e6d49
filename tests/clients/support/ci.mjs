import { execFile } from "node:child_process";
import { promisify } from "node:util";

import { SECRET } from "./relay.mjs";

const run = promisify(execFile);

/**
 * The last step of a CI job, in the form that Featurevisor's guide prints: curl, the secret in
 * `X-PartyKit-Secret`, a JSON body. Returns the status and the body of the answer.
 */
export async function postRefresh(host, room, secret = SECRET) {
  const guide = [
    ["-X", "POST"],
    ["-H", "Content-Type: application/json"],
    ["-H", `X-PartyKit-Secret: ${secret}`],
    ["-d", '{"type": "refresh"}'],
  ].flat();
  const report = ["--silent", "--show-error", "--max-time", "20", "--write-out", "\n%{http_code}"];
  const url = `http://${host}/party/${room}`;
  const { stdout } = await run("curl", [...guide, ...report, url]);
  const end = stdout.lastIndexOf("\n");
  return { status: Number(stdout.slice(end + 1)), body: stdout.slice(0, end) };
}
