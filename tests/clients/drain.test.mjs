// A node behind a load balancer is told to go while applications are connected to it.
import assert from "node:assert/strict";
import { once } from "node:events";
import { after, before, describe, test } from "node:test";

import { startAppV1, startAppV2 } from "./support/apps.mjs";
import { postRefresh } from "./support/ci.mjs";
import { startDatafileServer } from "./support/datafile_server.mjs";
import { startLoadBalancer } from "./support/load_balancer.mjs";
import { endAfterwards, startNodes } from "./support/nodes.mjs";
import { buildOffAndOn } from "./support/project.mjs";
import { waitForConnections } from "./support/relay.mjs";
import { connectNative, connectParty, connectWs, newRoom, REFRESH } from "./support/sockets.mjs";
import { settled, waitFor } from "./support/wait.mjs";

const DRAIN = { RELAY_DRAIN__NOTICE_SECONDS: "1", RELAY_DRAIN__SPREAD_SECONDS: "2" };

describe("a node that drains", () => {
  let builds, leaving, staying, balancer, datafiles;

  before(async () => {
    [[leaving, staying], builds] = await Promise.all([startNodes(2, DRAIN), buildOffAndOn()]);
    balancer = await startLoadBalancer([leaving, staying]);
    datafiles = await startDatafileServer(builds.off);
  });
  endAfterwards();
  after(() => Promise.all([balancer?.stop(), datafiles?.stop()]));

  test("partysocket comes back on the other node and misses nothing published meanwhile", async () => {
    const room = newRoom();
    const apps = [await startAppV1(datafiles), await startAppV2(datafiles)];
    const parties = [
      connectParty(balancer.host, { room }),
      connectParty(balancer.host, { basePath: `party/${room}` }),
    ];
    parties.forEach(({ socket }, i) => socket.addEventListener("message", apps[i].onMessage));
    const plain = connectNative(balancer.host, `/party/${room}`);
    const bystander = connectWs(staying.host, `/party/${room}`);
    const onLeaving = [...parties, plain];
    await Promise.all([...onLeaving, bystander].map((seen) => seen.opened()));
    await waitForConnections(staying, room, 4);
    assert.deepEqual(balancer.picked, [0, 0, 0]);

    leaving.terminate();
    await waitFor("the node says it is not ready", async () => !(await leaving.isReady()));

    // The notice: the sockets still there hear what is published, newcomers are sent away.
    assert.equal((await postRefresh(leaving.host, room)).status, 200);
    await Promise.all([...onLeaving, bystander].map((seen) => seen.received(1)));
    const late = connectWs(leaving.host, `/party/${room}`);
    const [, refusal] = await settled("the refusal", once(late.socket, "unexpected-response"));
    assert.equal(refusal.statusCode, 503);
    assert.match(refusal.headers["retry-after"], /^[1-9][0-9]*$/);

    // All have been closed and none is back: partysocket waits three seconds, and the balancer
    // lets nobody in before the publish is done, should this machine stall.
    balancer.hold();
    await Promise.all(onLeaving.map((seen) => seen.closed()));
    assert.ok(apps.every((app) => !app.isOn()));
    datafiles.deploy(builds.on);
    const answer = await postRefresh(staying.host, room);
    assert.deepEqual(answer, { status: 200, body: "Message sent to 1 connected participants" });
    await bystander.received(2);
    assert.deepEqual(parties.map((seen) => seen.opens), [1, 1]);
    balancer.release();

    await Promise.all(parties.map((seen) => seen.opened(2)));
    await Promise.all(parties.map((seen) => seen.received(2)));
    await waitFor("the feature is on in both applications", () => apps.every((app) => app.isOn()));
    assert.deepEqual(balancer.picked, [0, 0, 0, 1, 1]);
    await waitForConnections(staying, room, 3);

    const ended = await settled("the node ends", leaving.exited);
    assert.deepEqual(ended, { code: 0, signal: null });

    for (const seen of onLeaving) {
      assert.deepEqual(seen.closes.map(({ code }) => code), [1012]);
      assert.equal(seen.closes[0].wasClean, true);
    }
    for (const seen of parties) {
      assert.deepEqual(seen.frames, [REFRESH, REFRESH]);
      const closes = seen.transportCloses().map(({ code, wasClean }) => ({ code, wasClean }));
      assert.deepEqual(closes, [{ code: 1012, wasClean: true }]);
    }
    assert.deepEqual(bystander.frames, [REFRESH, REFRESH]);
    assert.deepEqual(bystander.closes, []);
  });
});
