// The main road: CI posts to node A, an application connected to node B sees its feature on.
import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";

import WS from "ws";

import { startAppV1, startAppV2, startPlainAppV1 } from "./support/apps.mjs";
import { killChildren } from "./support/children.mjs";
import { postRefresh } from "./support/ci.mjs";
import { startDatafileServer } from "./support/datafile_server.mjs";
import { buildOffAndOn, copyProject } from "./support/project.mjs";
import { startRedis } from "./support/redis.mjs";
import { startRelay, waitForConnections } from "./support/relay.mjs";
import {
  closeSockets,
  connectNative,
  connectParty,
  connectWs,
  newRoom,
  REFRESH,
} from "./support/sockets.mjs";
import { waitFor } from "./support/wait.mjs";

const SDKS = {
  "SDK 1.x with refresh()": startAppV1,
  "SDK 2.x with setDatafile()": startAppV2,
};

const SOCKETS = {
  "a plain WebSocket": (host, room) => connectNative(host, `/party/${room}`),
  "a ws client": (host, room) => connectWs(host, `/party/${room}`),
  "partysocket with its defaults": (host, room) => connectParty(host, { room }),
  "partysocket with the guide's path as basePath": (host, room) =>
    connectParty(host, { basePath: `party/${room}` }),
  "partysocket over ws": (host, room) => connectParty(host, { room, WebSocket: WS }),
};

describe("a refresh that crosses two nodes", () => {
  let nodeA, nodeB, builds;

  before(async () => {
    const redisUrl = await startRedis();
    [nodeA, nodeB, builds] = await Promise.all([
      startRelay(redisUrl),
      startRelay(redisUrl),
      buildOffAndOn(),
    ]);
  });
  afterEach(closeSockets);
  after(killChildren);

  for (const [sdk, startApp] of Object.entries(SDKS)) {
    for (const [kind, connect] of Object.entries(SOCKETS)) {
      test(`${sdk} on ${kind}: a POST to node A switches the feature on at node B`, async () => {
        const room = newRoom();
        const datafiles = await startDatafileServer(builds.off);
        const app = await startApp(datafiles);
        const seen = connect(nodeB.host, room);
        try {
          seen.socket.addEventListener("message", app.onMessage);
          await seen.opened();
          await waitForConnections(nodeA, room, 1);
          assert.equal(app.isOn(), false);

          datafiles.deploy(builds.on);
          const answer = await postRefresh(nodeA.host, room);

          assert.deepEqual(answer, {
            status: 200,
            body: "Message sent to 1 connected participants",
          });
          await waitFor("the feature is on", app.isOn);
          assert.deepEqual(seen.frames, [REFRESH]);
          assert.deepEqual(seen.closes, []);
          assert.equal(seen.opens, 1);
        } finally {
          await datafiles.stop();
        }
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

  test("SDK 1.x does not lose a refresh that comes while it is still fetching", async () => {
    const room = newRoom();
    const datafiles = await startDatafileServer(builds.off);
    const app = await startAppV1(datafiles);
    const plain = await startPlainAppV1(datafiles);
    const seen = connectParty(nodeB.host, { room });
    try {
      seen.socket.addEventListener("message", app.onMessage);
      seen.socket.addEventListener("message", plain.onMessage);
      await seen.opened();
      await waitForConnections(nodeA, room, 1);

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
    } finally {
      datafiles.release();
      await datafiles.stop();
    }
  });

  test("a wrong secret is answered 401, and no application fetches anything", async () => {
    const room = newRoom();
    const datafiles = await startDatafileServer(builds.off);
    const app = await startAppV2(datafiles);
    const seen = connectParty(nodeB.host, { room });
    try {
      seen.socket.addEventListener("message", app.onMessage);
      await seen.opened();
      await waitForConnections(nodeA, room, 1);
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
    } finally {
      await datafiles.stop();
    }
  });
});
