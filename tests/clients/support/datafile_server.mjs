import { createHash } from "node:crypto";
import http from "node:http";

/**
 * Serves datafiles as a CDN does: ETag, conditional requests, no age without revalidation.
 * `deploy` replaces all files at once, as an upload.
 */
export async function startDatafileServer(files) {
  let current = files;
  let held = [];
  let holding = false;
  const requests = [];

  const server = http.createServer((request, response) => {
    const { pathname } = new URL(request.url, "http://localhost");
    // What is served is fixed when the request arrives, also if the answer is held back.
    const body = current[pathname];
    const etag = body && `"${createHash("sha256").update(body).digest("hex").slice(0, 16)}"`;
    const answer = () => {
      const unchanged = body && request.headers["if-none-match"] === etag;
      const status = unchanged ? 304 : body ? 200 : 404;
      const headers = { etag, "cache-control": "max-age=0, must-revalidate" };
      response.writeHead(status, body ? { ...headers, "content-type": "application/json" } : {});
      response.end(status === 200 ? body : undefined);
    };
    requests.push(pathname);
    if (holding) held.push(answer);
    else answer();
  });
  await new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(0, "127.0.0.1", resolve);
  });

  return {
    url: (pathname) => `http://127.0.0.1:${server.address().port}${pathname}`,
    deploy: (next) => (current = next),
    requests,
    /** From now on answers are held back until `release`. */
    hold: () => (holding = true),
    release() {
      holding = false;
      for (const answer of held.splice(0)) answer();
    },
    stop() {
      server.closeAllConnections();
      return new Promise((resolve) => server.close(resolve));
    },
  };
}
