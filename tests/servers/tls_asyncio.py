"""A server over asyncio's TLS, which goes through memory: one thread, an SSL object for each connection.

Arguments: the port, the certificate, its key. Paths: see `site.rs`. Writes each request on a line. Beyond that, /drop
closes without an answer, and /never waits until the client is gone.
"""

import asyncio
import ssl
import sys

from tls_app import BODIES


async def serve(reader, writer):
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            method, path, _ = head.split("\r\n")[0].split(" ")
            fields = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if line)
            body = await reader.readexactly(int(fields.get("content-length", 0)))
            if path == "/drop":
                writer.close()
                return
            if path == "/never":
                await reader.read()
                writer.close()
                return
            if path == "/slow":
                await asyncio.sleep(0.050)
            status, answer = BODIES.get(path, (404, b"missing\n"))
            print(method, path, status, len(body), flush=True)
            length = b"" if status == 204 else b"Content-Length: %d\r\n" % len(answer)
            writer.write(b"HTTP/1.1 %d Said\r\n%s\r\n" % (status, length) + (b"" if method == "HEAD" else answer))
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def main(port, certificate, key):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    server = await asyncio.start_server(serve, "127.0.0.1", port, ssl=context, backlog=1024)
    await server.serve_forever()


asyncio.run(main(int(sys.argv[1]), *sys.argv[2:4]))
