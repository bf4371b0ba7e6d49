import net from "node:net";

/**
 * A TCP load balancer: a new connection goes to the first of the nodes that says it is ready, so
 * a test knows which one that is; with none ready it is refused. It copies bytes and half-closes
 * as they come, and takes no part in HTTP.
 */
export async function startLoadBalancer(nodes) {
  const open = new Set();
  let held = Promise.resolve();
  let release = () => {};
  const picked = [];

  async function connect(client) {
    await held;
    const ready = await Promise.all(nodes.map((node) => node.isReady()));
    const index = ready.indexOf(true);
    picked.push(index);
    if (index < 0) client.destroy();
    if (client.destroyed) return;
    const [host, port] = nodes[index].host.split(":");
    const upstream = net.connect({ host, port: Number(port), allowHalfOpen: true });
    open.add(upstream);
    for (const [from, to] of [
      [client, upstream],
      [upstream, client],
    ]) {
      from.once("error", () => to.destroy());
      from.once("close", () => open.delete(from));
      from.pipe(to);
    }
  }

  const server = net.createServer({ allowHalfOpen: true }, (client) => {
    open.add(client);
    client.once("error", () => client.destroy());
    connect(client);
  });
  await new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(0, "127.0.0.1", resolve);
  });

  return {
    host: `127.0.0.1:${server.address().port}`,
    /** Which node each connection was given to, in order. */
    picked,
    /** From now on new connections wait until `release`. */
    hold: () => (held = new Promise((resolve) => (release = resolve))),
    release: () => release(),
    stop() {
      for (const socket of open) socket.destroy();
      return new Promise((resolve) => server.close(resolve));
    },
  };
}
