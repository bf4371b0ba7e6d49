// What the other tests stand on: the built datafiles, the server that holds them, and the SDKs,
// without a relay.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { startAppV1, startAppV2 } from "./support/apps.mjs";
import { startDatafileServer } from "./support/datafile_server.mjs";
import { buildOffAndOn, FEATURE, V1_PATH, V2_PATH } from "./support/project.mjs";
import { REFRESH } from "./support/sockets.mjs";
import { waitFor } from "./support/wait.mjs";

describe("datafiles without a relay", () => {
  let builds;

  before(async () => {
    builds = await buildOffAndOn();
  });

  test("featurevisor build writes the next revision with the feature's new percentage", () => {
    const states = [builds.off, builds.on].map((files) => JSON.parse(files[V1_PATH]));
    assert.deepEqual(states.map(({ schemaVersion }) => schemaVersion), ["1", "1"]);
    assert.equal(Number(states[1].revision), Number(states[0].revision) + 1);
    const percentages = states.map(({ features }) => {
      const feature = features.find(({ key }) => key === FEATURE);
      return feature.traffic.map(({ percentage }) => percentage);
    });
    assert.deepEqual(percentages, [[0], [100_000]]);
  });

  for (const [name, startApp, path] of [
    ["SDK 1.x", startAppV1, V1_PATH],
    ["SDK 2.x", startAppV2, V2_PATH],
  ]) {
    describe(name, () => {
      let datafiles;

      before(async () => {
        datafiles = await startDatafileServer(builds.off);
      });
      after(() => datafiles.stop());

      test("keeps a feature off after an upload until it is told to refresh", async () => {
        const app = await startApp(datafiles);
        assert.equal(app.isOn(), false);
        const revision = app.revision();
        const requests = datafiles.requests.length;

        datafiles.deploy(builds.on);
        assert.equal(app.isOn(), false);
        assert.equal(datafiles.requests.length, requests);

        app.onMessage({ data: REFRESH });
        await waitFor("the feature is on", app.isOn);
        assert.notEqual(app.revision(), revision);
        assert.deepEqual(datafiles.requests, [path, path]);
      });
    });
  }

  test("an unchanged datafile costs a conditional request and no body", async () => {
    const datafiles = await startDatafileServer(builds.off);
    try {
      const url = datafiles.url(V1_PATH);
      const first = await fetch(url);
      assert.equal(await first.text(), builds.off[V1_PATH]);
      const conditional = { headers: { "if-none-match": first.headers.get("etag") } };

      const same = await fetch(url, conditional);
      assert.equal(same.status, 304);
      assert.equal(await same.text(), "");

      datafiles.deploy(builds.on);
      const changed = await fetch(url, conditional);
      assert.equal(changed.status, 200);
      assert.equal(await changed.text(), builds.on[V1_PATH]);
    } finally {
      await datafiles.stop();
    }
  });
});
