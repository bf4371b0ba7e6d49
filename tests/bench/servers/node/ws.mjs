// Plain ws with ioredis: a socket is in the room that its path names, POST there publishes the body.
import http from "node:http";
import { Redis } from "ioredis";
import { WebSocketServer } from "ws";

import { inWorkers } from "./workers.mjs";

const PING_INTERVAL = 25_000;

inWorkers(({ redis, listen }) => {
  const publisher = new Redis(redis);
  const subscriber = new Redis(redis);
  const rooms = new Map();

  const sockets = new WebSocketServer({ noServer: true });
  const server = http.createServer(async (request, response) => {
    let body = "";
    for await (const chunk of request) body += chunk;
    await publisher.publish(request.url, body);
    response.end();
  });
  server.on("upgrade", (request, socket, head) => {
    sockets.handleUpgrade(request, socket, head, (client) => {
      const room = rooms.get(request.url) ?? new Set();
      rooms.set(request.url, room.add(client));
      client.isAlive = true;
      client.on("pong", () => (client.isAlive = true));
      client.on("error", () => client.terminate());
      client.on("close", () => room.delete(client));
    });
  });

  subscriber.on("pmessage", (_, room, text) => {
    for (const client of rooms.get(room) ?? []) client.send(text);
  });
  setInterval(() => {
    for (const client of sockets.clients) {
      if (!client.isAlive) client.terminate();
      client.isAlive = false;
      client.ping();
    }
  }, PING_INTERVAL);
  subscriber.psubscribe("/*").then(() => listen(server));
});
