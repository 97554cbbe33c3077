"""An HTTP server of asyncio's streams that asks another service as the path says, and writes down what it did.

PORT LOG OTHER: its port, a file and a URL. The other service is asked over a connection of its own each time.
"""

import asyncio
import json
import sys
import time
from urllib.parse import urlsplit


async def ask(other):
    reader, writer = await asyncio.open_connection(other.hostname, other.port)
    writer.write(b"GET %s HTTP/1.1\r\nHost: %s\r\n\r\n" % (other.path.encode(), other.netloc.encode()))
    await reader.readuntil(b"\r\n\r\n")
    await reader.readexactly(2)
    writer.close()


async def main(port, log, other):
    async def serve(reader, writer):
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                lines = head.split("\r\n")
                fields = dict(line.lower().split(": ", 1) for line in lines[1:] if line)
                calls = []
                for _ in range(int(lines[0].split(" ")[1].split("/")[4])):
                    began = time.monotonic_ns()
                    await ask(other)
                    calls.append(["external", began, time.monotonic_ns()])
                print(json.dumps({"id": fields.get("x-request-id", ""), "calls": calls}), file=log, flush=True)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone")
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", port)
    await server.serve_forever()


asyncio.run(main(int(sys.argv[1]), open(sys.argv[2], "a"), urlsplit(sys.argv[3])))
