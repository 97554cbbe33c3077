// A client over node's TLS. Arguments: 1 or 2 (the version of HTTP), the port, the certificate to trust.
// Each line it reads is a request (method, path, length of the body), each line it writes what came of it: status,
// length of the body, nanoseconds.
import { readFileSync } from "node:fs";
import http2 from "node:http2";
import https from "node:https";
import readline from "node:readline";

const [version, port, certificate] = process.argv.slice(2);
const ca = readFileSync(certificate);
const agent = new https.Agent({ keepAlive: true, maxSockets: 1 });
const session = version === "2" ? http2.connect(`https://127.0.0.1:${port}`, { ca }) : undefined;

function body(answer, status, done) {
  let received = 0;
  answer.on("data", (part) => (received += part.length));
  answer.on("end", () => done(status(), received));
}

function ask(method, path, length) {
  return new Promise((resolve, reject) => {
    const done = (status, received) => resolve([status, received]);
    let request;
    if (session) {
      const head = { ":method": method, ":path": path };
      if (length) head["content-length"] = length;
      request = session.request(head, { endStream: !length });
      let status;
      request.on("response", (headers) => (status = headers[":status"]));
      body(request, () => status, done);
    } else {
      const headers = length ? { "content-length": length } : {};
      request = https.request({ host: "127.0.0.1", port, method, path, headers, agent, ca }, (answer) =>
        body(answer, () => answer.statusCode, done),
      );
    }
    request.on("error", reject);
    if (length) request.end(Buffer.alloc(length, "x"));
    else if (!session) request.end();
  });
}

for await (const line of readline.createInterface({ input: process.stdin })) {
  const [method, path, length] = line.split(" ");
  const started = process.hrtime.bigint();
  const [status, received] = await ask(method, path, Number(length));
  console.log(status, received, Number(process.hrtime.bigint() - started));
}
session?.close();
agent.destroy();
