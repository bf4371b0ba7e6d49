// One process per core, behind one port: node workers.mjs's users are run as `node SERVER PORT REDIS_URL WORKERS`.
import cluster from "node:cluster";

/** Runs `serve` in each worker; says `listening` once all of them do. */
export function inWorkers(serve) {
  const [port, redis, workers] = process.argv.slice(2);
  if (cluster.isPrimary) {
    let listening = 0;
    cluster.on("listening", () => {
      listening += 1;
      if (listening === Number(workers)) console.log("listening");
    });
    cluster.on("exit", () => process.exit(1));
    for (let worker = 0; worker < Number(workers); worker += 1) cluster.fork();
  } else {
    serve({ redis, listen: (server) => server.listen({ port: Number(port), host: "127.0.0.1", backlog: 4096 }) });
  }
}
