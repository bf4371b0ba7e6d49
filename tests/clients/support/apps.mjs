// Applications as users write them: an SDK instance and what they do with a message of the relay.
import { createInstance as createV1, createLogger } from "featurevisor-sdk-v1";
import { createInstance as createV2 } from "featurevisor-sdk-v2";

import { FEATURE, V1_PATH, V2_PATH, VISITOR } from "./project.mjs";
import { settled } from "./wait.mjs";

function isRefresh(event) {
  return JSON.parse(event.data).type === "refresh";
}

async function fetchDatafile(url) {
  const answer = await fetch(url, { cache: "no-cache" });
  if (!answer.ok) throw new Error(`${url} answered ${answer.status}`);
  return answer.json();
}

/**
 * SDK 1.x. `refresh()` skips while a refresh is running, and what is being fetched then may be older
 * than the signal: a signal during a fetch is kept, and followed when that fetch has ended, well or not.
 */
export async function startAppV1(datafiles) {
  let fetching = false;
  let signalled = false;

  function onFetched() {
    fetching = false;
    if (!signalled) return;
    signalled = false;
    sdk.refresh();
  }

  const sdk = createV1({
    datafileUrl: datafiles.url(V1_PATH),
    handleDatafileFetch(url) {
      fetching = true;
      // The SDK takes the datafile in, and is free for the next refresh, only after this promise:
      // hence the timer.
      return fetchDatafile(url).finally(() => setTimeout(onFetched));
    },
    logger: createLogger({ levels: ["error"] }),
  });
  await settled("the SDK has its first datafile", sdk.onReady());

  return {
    isOn: () => sdk.isEnabled(FEATURE, VISITOR),
    revision: () => sdk.getRevision(),
    onMessage(event) {
      if (!isRefresh(event)) return;
      if (fetching) signalled = true;
      else sdk.refresh();
    },
  };
}

/** SDK 1.x in the shortest form: every signal is a `refresh()`. */
export async function startPlainAppV1(datafiles) {
  let refreshes = 0;
  const sdk = createV1({
    datafileUrl: datafiles.url(V1_PATH),
    onRefresh: () => (refreshes += 1),
    logger: createLogger({ levels: ["error"] }),
  });
  await settled("the SDK has its first datafile", sdk.onReady());
  return {
    isOn: () => sdk.isEnabled(FEATURE, VISITOR),
    refreshes: () => refreshes,
    onMessage: (event) => isRefresh(event) && sdk.refresh(),
  };
}

/** SDK 2.x: the application fetches the datafile itself. */
export async function startAppV2(datafiles) {
  const url = datafiles.url(V2_PATH);
  const sdk = createV2({ datafile: await fetchDatafile(url), logLevel: "error" });
  return {
    isOn: () => sdk.isEnabled(FEATURE, VISITOR),
    revision: () => sdk.getRevision(),
    async onMessage(event) {
      if (!isRefresh(event)) return;
      sdk.setDatafile(await (await fetch(url, { cache: "no-cache" })).json(), true);
    },
  };
}
