// What the clients' own WebSocket code makes of a node's frames.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { before, describe, test } from "node:test";

import PartySocket from "partysocket";

import { endAfterwards, startNodes } from "./support/nodes.mjs";
import { SECRET, waitForConnections } from "./support/relay.mjs";
import { connectNative, connectParty, connectWs, newRoom, REFRESH } from "./support/sockets.mjs";
import { settled, waitFor } from "./support/wait.mjs";

const JSON_WITH_SECRET = {
  method: "POST",
  headers: { "content-type": "application/json", "x-partykit-secret": SECRET },
  body: JSON.stringify({ type: "refresh" }),
};

describe("sockets on one node", () => {
  let node;

  before(async () => {
    [node] = await startNodes(1, {
      RELAY_WEBSOCKET__PING_INTERVAL_SECONDS: "1",
      RELAY_WEBSOCKET__PONG_TIMEOUT_SECONDS: "1",
    });
  });
  endAfterwards();

  for (const [kind, payload] of [
    ["no payload", Buffer.alloc(0)],
    ["a text payload", Buffer.from("are you there?")],
    ["the longest payload, 125 bytes", randomBytes(125)],
  ]) {
    test(`a ws client's ping with ${kind} is answered by a pong with the same bytes`, async () => {
      const seen = connectWs(node.host, `/party/${newRoom()}`);
      await seen.opened();
      const pong = once(seen.socket, "pong");
      seen.socket.ping(payload);
      const [answer] = await settled("the pong", pong);
      assert.deepEqual(answer, payload);
    });
  }

  for (const [kind, connect] of [
    ["a ws client", connectWs],
    ["a plain WebSocket", connectNative],
  ]) {
    test(`${kind} that closes with 1000 is answered, and the close is clean`, async () => {
      const room = newRoom();
      const seen = connect(node.host, `/party/${room}`);
      const other = connectWs(node.host, `/party/${room}`);
      await Promise.all([seen.opened(), other.opened()]);
      await waitForConnections(node, room, 2);

      seen.socket.close(1000);
      // Both clients report 1006 if no close frame comes back.
      assert.deepEqual(await seen.closed(), { code: 1000, wasClean: true });
      await waitForConnections(node, room, 1);
    });
  }

  test("partysocket's close() ends the connection cleanly and it stays closed", async () => {
    const room = newRoom();
    const seen = connectParty(node.host, { room });
    const other = connectWs(node.host, `/party/${room}`);
    await Promise.all([seen.opened(), other.opened()]);
    await waitForConnections(node, room, 2);

    seen.socket.close();
    await waitFor("the connection closed", () => seen.transportCloses().length > 0);
    const [{ code, wasClean }] = seen.transportCloses();
    assert.deepEqual({ code, wasClean }, { code: 1000, wasClean: true });
    await waitForConnections(node, room, 1);
    assert.equal(seen.socket.shouldReconnect, false);
  });

  test("nothing is negotiated that the node does not speak", async () => {
    const seen = connectWs(node.host, `/party/${newRoom()}`);
    await seen.opened();
    // `ws` offers permessage-deflate by default.
    assert.equal(seen.socket.extensions, "");
    assert.equal(seen.socket.protocol, "");
  });

  test("PartySocket.fetch publishes with the secret in a header", async () => {
    const room = newRoom();
    const byRoom = connectParty(node.host, { room });
    const byPath = connectParty(node.host, { basePath: `party/${room}` });
    await Promise.all([byRoom.opened(), byPath.opened()]);
    await waitForConnections(node, room, 2);

    let frames = 0;
    for (const options of [{ room }, { basePath: `party/${room}` }]) {
      const answer = await PartySocket.fetch({ host: node.host, ...options }, JSON_WITH_SECRET);
      assert.equal(answer.status, 200);
      assert.equal(await answer.text(), "Message sent to 2 connected participants");
      frames += 1;
      await Promise.all([byRoom.received(frames), byPath.received(frames)]);
    }
    assert.deepEqual(byRoom.frames, [REFRESH, REFRESH]);
    assert.deepEqual(byPath.frames, [REFRESH, REFRESH]);
  });

  test("PartySocket.fetch without the secret is refused", async () => {
    const { "x-partykit-secret": _, ...headers } = JSON_WITH_SECRET.headers;
    const answer = await PartySocket.fetch(
      { host: node.host, room: newRoom() },
      { ...JSON_WITH_SECRET, headers },
    );
    assert.equal(answer.status, 401);
    assert.equal(await answer.text(), "Nothing to see here.");
  });

  test("what clients send is relayed to nobody and ends no connection", async () => {
    const room = newRoom();
    const talker = connectParty(node.host, { room });
    const listener = connectWs(node.host, `/party/${room}`);
    await Promise.all([talker.opened(), listener.opened()]);
    await waitForConnections(node, room, 2);

    talker.socket.send('{"type":"refresh"}');
    talker.socket.send("not JSON");
    talker.socket.send(randomBytes(64));
    const answer = await PartySocket.fetch({ host: node.host, room }, JSON_WITH_SECRET);
    assert.equal(await answer.text(), "Message sent to 2 connected participants");

    await Promise.all([talker.received(1), listener.received(1)]);
    assert.deepEqual(talker.frames, [REFRESH]);
    assert.deepEqual(listener.frames, [REFRESH]);
    assert.deepEqual(talker.closes, []);
  });

  test("every client answers the node's pings and so outlives the pong timeout", async () => {
    const room = newRoom();
    const clients = [
      connectWs(node.host, `/party/${room}`),
      connectNative(node.host, `/party/${room}`),
      connectParty(node.host, { room }),
    ];
    let pings = 0;
    clients[0].socket.on("ping", () => (pings += 1));
    await Promise.all(clients.map((seen) => seen.opened()));

    // Interval and timeout are one second each here: a client that did not answer the first ping
    // would be closed before the fourth comes.
    await waitFor("four pings", () => pings >= 4, { within: 20_000, shown: () => pings });
    await waitForConnections(node, room, clients.length);
    const answer = await PartySocket.fetch({ host: node.host, room }, JSON_WITH_SECRET);
    assert.equal(await answer.text(), "Message sent to 3 connected participants");
    for (const seen of clients) {
      await seen.received(1);
      assert.deepEqual({ closes: seen.closes, opens: seen.opens }, { closes: [], opens: 1 });
    }
  });
});
