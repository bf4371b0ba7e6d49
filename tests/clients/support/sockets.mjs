// The sockets that applications open, each with a record of what happened to it.
import { randomUUID } from "node:crypto";

import PartySocket from "partysocket";
import WS from "ws";

import { waitFor } from "./wait.mjs";

if (!globalThis.WebSocket) {
  throw new Error("Node.js before 22 has WebSocket only with --experimental-websocket: use npm test");
}

export const REFRESH = '{"type":"refresh"}';

/** A room that no other test uses. */
export function newRoom() {
  return `room-${randomUUID()}`;
}

// partysocket shows the application a close of its own making after some errors, so how a
// connection really ended is noted below it.
const NativeWebSocket = globalThis.WebSocket;
const transportCloses = [];
globalThis.WebSocket = class WebSocket extends NativeWebSocket {
  constructor(...args) {
    super(...args);
    this.addEventListener("close", ({ code, wasClean }) => {
      transportCloses.push({ url: this.url, code, wasClean });
    });
  }
};

const open = new Set();

/** Ends whatever a test left open: a partysocket would reconnect for ever. */
export function closeSockets() {
  for (const socket of open) {
    if (socket instanceof WS) socket.terminate();
    else socket.close();
  }
  open.clear();
}

function record(socket) {
  open.add(socket);
  const seen = { socket, frames: [], closes: [], opens: 0 };
  socket.addEventListener("open", () => (seen.opens += 1));
  socket.addEventListener("message", (event) => seen.frames.push(event.data));
  socket.addEventListener("close", ({ code, wasClean }) => seen.closes.push({ code, wasClean }));
  // Without a listener an error of `ws` ends the process; the close that follows is what counts.
  socket.addEventListener("error", () => {});
  seen.opened = (times = 1) =>
    waitFor(`the socket opened ${times} times`, () => seen.opens >= times, {
      within: 20_000,
      shown: () => seen.closes,
    });
  seen.received = (count) =>
    waitFor(`${count} frames`, () => seen.frames.length >= count, { shown: () => seen.frames });
  seen.closed = () => waitFor("the socket closed", () => seen.closes[0]);
  return seen;
}

/** A `ws` client. */
export function connectWs(host, path, options) {
  return record(new WS(`ws://${host}${path}`, options));
}

/** The platform's own WebSocket, as in a browser. */
export function connectNative(host, path, protocols = []) {
  return record(new NativeWebSocket(`ws://${host}${path}`, protocols));
}

/** A partysocket with its defaults; `transportCloses()` tells how its connections really ended. */
export function connectParty(host, options) {
  const socket = new PartySocket({ host, ...options });
  const seen = record(socket);
  seen.transportCloses = () => transportCloses.filter(({ url }) => url.includes(socket.id));
  return seen;
}
