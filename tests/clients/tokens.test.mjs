// Listening where a token is required, as the clients of applications can show one.
import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { once } from "node:events";
import { before, describe, test } from "node:test";

import { endAfterwards, startNodes } from "./support/nodes.mjs";
import { SECRET, waitForConnections } from "./support/relay.mjs";
import { connectNative, connectParty, connectWs, newRoom, REFRESH } from "./support/sockets.mjs";
import { settled, waitFor } from "./support/wait.mjs";

const TOKEN_SECRET = "what the application's backend signs with";

/** What the backend answers to an application; good until a minute after `seconds` from now. */
function token(rooms, seconds = 300) {
  const encode = (part) => Buffer.from(JSON.stringify(part)).toString("base64url");
  const exp = Math.floor(Date.now() / 1000) + seconds;
  const message = `${encode({ typ: "JWT", alg: "HS256" })}.${encode({ rooms, exp })}`;
  return `${message}.${createHmac("sha256", TOKEN_SECRET).update(message).digest("base64url")}`;
}

describe("a node that asks for tokens", () => {
  let node;

  before(async () => {
    [node] = await startNodes(1, {
      RELAY_SUBSCRIBERS__TOKENS: "required",
      RELAY_SUBSCRIBERS__HS256_SECRET: TOKEN_SECRET,
    });
  });
  endAfterwards();

  async function publish(room) {
    const answer = await fetch(`http://${node.host}/v1/rooms/${room}/refresh`, {
      method: "POST",
      headers: { authorization: `Bearer ${SECRET}` },
    });
    assert.equal(answer.status, 200);
  }

  test("partysocket shows a new token at each connect, and so outlives one that expired", async () => {
    const room = newRoom();
    const ends = [-58, 300];
    let asked = 0;
    const query = async () => ({ token: token([room], ends[asked++]) });
    const seen = connectParty(node.host, { room, query });
    await seen.opened();
    await waitFor("the first connection closed", () => seen.transportCloses().length > 0);
    assert.deepEqual(seen.transportCloses().map(({ code, wasClean }) => ({ code, wasClean })), [
      { code: 1008, wasClean: true },
    ]);
    await seen.opened(2);
    assert.equal(asked, 2);
    await publish(room);
    await seen.received(1);
    assert.deepEqual(seen.frames, [REFRESH]);
  });

  test("a plain WebSocket shows its token among its subprotocols", async () => {
    const room = newRoom();
    const seen = connectNative(node.host, `/party/${room}`, ["relay.v1", `token.${token(room)}`]);
    await seen.opened();
    assert.equal(seen.socket.protocol, "relay.v1");
    await waitForConnections(node, room, 1);
    await publish(room);
    await seen.received(1);
  });

  for (const [kind, rooms, status] of [
    ["without a token", undefined, 401],
    ["with one for another room", ["another-room"], 403],
  ]) {
    test(`${kind} no client gets in`, async () => {
      const path = `/party/${newRoom()}${rooms ? `?token=${token(rooms)}` : ""}`;
      const seen = connectWs(node.host, path);
      const [error] = await settled("the refusal", once(seen.socket, "error"));
      assert.match(error.message, new RegExp(`${status}$`));
      assert.equal((await seen.closed()).code, 1006);
      assert.equal(seen.opens, 0);
    });
  }
});
