// Socket.IO with its Redis adapter: a socket is in the room that its query names, POST /publish?room=NAME emits the body there.
import http from "node:http";
import { createAdapter } from "@socket.io/redis-adapter";
import { Redis } from "ioredis";
import { Server } from "socket.io";

import { inWorkers } from "./workers.mjs";

inWorkers(({ redis, listen }) => {
  const server = http.createServer();
  const io = new Server(server, {
    adapter: createAdapter(new Redis(redis), new Redis(redis)),
    transports: ["websocket"],
    serveClient: false,
  });
  io.on("connection", (socket) => socket.join(socket.handshake.query.room));
  server.on("request", async (request, response) => {
    const url = new URL(request.url, "http://localhost");
    if (url.pathname !== "/publish") return;
    let body = "";
    for await (const chunk of request) body += chunk;
    io.to(url.searchParams.get("room")).emit("refresh", JSON.parse(body));
    response.end();
  });
  listen(server);
});
