// A server over node's TLS. Arguments: https (HTTP/1.1 only), http2 (both) or lengths (as http2), the port, the
// certificate, its key. Paths: see `site.rs`. Writes each request on a line.
//
// Node ends a stream with a frame of its own, behind the body. Clients that are told a length do not wait for it, so by
// HTTP/2 none is told, but by `lengths`.
import { readFileSync } from "node:fs";
import http2 from "node:http2";
import https from "node:https";

const bodies = {
  "/hello": [200, "hello\n"],
  "/empty": [200, ""],
  "/page": [200, Buffer.alloc(20_000, "p")],
  "/large": [200, Buffer.alloc(1_048_576, "l")],
  "/fail": [500, "failed\n"],
  "/gone": [410, "gone\n"],
  "/nothing": [204, ""],
  "/upload": [201, "stored\n"],
  "/slow": [200, "slow\n"],
};

function answer(request, response) {
  let received = 0;
  request.on("data", (part) => (received += part.length));
  request.on("end", () => {
    const [status, body] = bodies[request.url] ?? [404, "missing\n"];
    setTimeout(
      () => {
        console.log(request.method, request.url, status, received);
        const told = status !== 204 && (request.httpVersionMajor === 1 || kind === "lengths");
        response.writeHead(status, told ? { "content-length": body.length } : {});
        response.end(request.method === "HEAD" ? undefined : body);
      },
      request.url === "/slow" ? 50 : 0,
    );
  });
}

const [kind, port, cert, key] = process.argv.slice(2);
const settings = { cert: readFileSync(cert), key: readFileSync(key), allowHTTP1: true, keepAliveTimeout: 60_000 };
const server = kind === "https" ? https.createServer(settings, answer) : http2.createSecureServer(settings, answer);
server.listen(Number(port), "127.0.0.1");
