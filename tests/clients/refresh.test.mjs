// The main road: CI posts to node A, an application connected to node B sees its feature on.
import assert from "node:assert/strict";
import { before, describe, test } from "node:test";

import WS from "ws";

import { startAppV1, startAppV2, startPlainAppV1 } from "./support/apps.mjs";
import { postRefresh } from "./support/ci.mjs";
import { startDatafileServer } from "./support/datafile_server.mjs";
import { endAfterwards, startNodes } from "./support/nodes.mjs";
import { buildOffAndOn, copyProject } from "./support/project.mjs";
import { waitForConnections } from "./support/relay.mjs";
import { connectNative, connectParty, connectWs, newRoom, REFRESH } from "./support/sockets.mjs";
import { waitFor } from "./support/wait.mjs";

const SDKS = {
  "SDK 1.x with refresh()": startAppV1,
  "SDK 2.x with setDatafile()": startAppV2,
};

const PARTY = (host, room) => connectParty(host, { room });

const SOCKETS = {
  "a plain WebSocket": (host, room) => connectNative(host, `/party/${room}`),
  "a ws client": (host, room) => connectWs(host, `/party/${room}`),
  "partysocket with its defaults": PARTY,
  "partysocket with the guide's path as basePath": (host, room) =>
    connectParty(host, { basePath: `party/${room}` }),
  "partysocket over ws": (host, room) => connectParty(host, { room, WebSocket: WS }),
};

describe("a refresh that crosses two nodes", () => {
  let nodeA, nodeB, builds;

  before(async () => {
    [[nodeA, nodeB], builds] = await Promise.all([startNodes(2), buildOffAndOn()]);
  });
  endAfterwards();

  /** An application whose feature is off, connected to node B. */
  async function listen(t, startApp, connect) {
    const room = newRoom();
    const datafiles = await startDatafileServer(builds.off);
    t.after(() => datafiles.stop());
    const app = await startApp(datafiles);
    const seen = connect(nodeB.host, room);
    seen.socket.addEventListener("message", app.onMessage);
    await seen.opened();
    await waitForConnections(nodeA, room, 1);
    return { room, datafiles, app, seen };
  }

  for (const [sdk, startApp] of Object.entries(SDKS)) {
    for (const [kind, connect] of Object.entries(SOCKETS)) {
      test(`${sdk} on ${kind}: a POST to node A switches the feature on at node B`, async (t) => {
        const { room, datafiles, app, seen } = await listen(t, startApp, connect);
        assert.equal(app.isOn(), false);

        datafiles.deploy(builds.on);
        const answer = await postRefresh(nodeA.host, room);

        assert.deepEqual(answer, { status: 200, body: "Message sent to 1 connected participants" });
        await waitFor("the feature is on", app.isOn);
        assert.deepEqual(seen.frames, [REFRESH]);
        assert.deepEqual(seen.closes, []);
        assert.equal(seen.opens, 1);
      });
    }
  }

  test("a change from YAML to every application, on both nodes and by every kind of socket", async () => {
    const room = "featurevisor";
    const project = await copyProject();
    const datafiles = await startDatafileServer(await project.build());
    const connections = [];
    try {
      const apps = [];
      for (const node of [nodeA, nodeB]) {
        for (const connect of Object.values(SOCKETS)) {
          for (const startApp of Object.values(SDKS)) {
            const app = await startApp(datafiles);
            const seen = connect(node.host, room);
            seen.socket.addEventListener("message", app.onMessage);
            apps.push(app);
            connections.push(seen);
          }
        }
      }
      await Promise.all(connections.map((seen) => seen.opened()));
      await waitForConnections(nodeA, room, connections.length);
      assert.ok(apps.every((app) => !app.isOn()));

      await project.switchOn();
      datafiles.deploy(await project.build());
      const answer = await postRefresh(nodeA.host, room);

      assert.deepEqual(answer, {
        status: 200,
        body: `Message sent to ${connections.length} connected participants`,
      });
      await waitFor("the feature is on everywhere", () => apps.every((app) => app.isOn()), {
        shown: () => apps.map((app) => app.isOn()),
      });
      for (const seen of connections) {
        assert.deepEqual(seen.frames, [REFRESH]);
        assert.deepEqual(seen.closes, []);
      }
    } finally {
      await Promise.all([datafiles.stop(), project.remove()]);
    }
  });

  test("SDK 1.x does not lose a refresh that comes while it is still fetching", async (t) => {
    const { room, datafiles, app, seen } = await listen(t, startAppV1, PARTY);
    const plain = await startPlainAppV1(datafiles);
    seen.socket.addEventListener("message", plain.onMessage);

    const before = datafiles.requests.length;
    datafiles.hold();
    await postRefresh(nodeA.host, room);
    await waitFor("both fetch the old datafile", () => datafiles.requests.length === before + 2);
    datafiles.deploy(builds.on);
    await postRefresh(nodeA.host, room);
    await seen.received(2);
    assert.equal(datafiles.requests.length, before + 2);
    datafiles.release();

    await waitFor("the feature is on", app.isOn);
    // Without the trailing edge the second signal is gone: why it must be kept.
    await waitFor("the plain refresh has ended", () => plain.refreshes() === 1);
    assert.equal(plain.isOn(), false);
    assert.equal(datafiles.requests.length, before + 3);
  });

  test("a wrong secret is answered 401, and no application fetches anything", async (t) => {
    const { room, datafiles, app, seen } = await listen(t, startAppV2, PARTY);
    datafiles.deploy(builds.on);
    assert.deepEqual(await postRefresh(nodeA.host, room, "not-the-secret"), {
      status: 401,
      body: "Nothing to see here.",
    });
    assert.deepEqual(seen.frames, []);

    // The right one reaches the same socket by the same road: had the first sent anything, it
    // would stand before this frame.
    await postRefresh(nodeA.host, room);
    await waitFor("the feature is on", app.isOn);
    assert.deepEqual(seen.frames, [REFRESH]);
  });
});
