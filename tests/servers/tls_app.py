"""An ASGI application for servers with TLS. Paths: see `site.rs`. Writes each request on a line once its body is read."""

import asyncio
import sys

BODIES = {
    "/hello": (200, b"hello\n"),
    "/empty": (200, b""),
    "/page": (200, b"p" * 20_000),
    "/large": (200, b"l" * 1_048_576),
    "/fail": (500, b"failed\n"),
    "/gone": (410, b"gone\n"),
    "/nothing": (204, b""),
    "/upload": (201, b"stored\n"),
    "/slow": (200, b"slow\n"),
}


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    received = 0
    more = True
    while more:
        message = await receive()
        received += len(message.get("body", b""))
        more = message.get("more_body", False)
    if scope["path"] == "/slow":
        await asyncio.sleep(0.050)
    status, body = BODIES.get(scope["path"], (404, b"missing\n"))
    print(scope["method"], scope["path"], status, received, file=sys.stderr, flush=True)
    # Clients of HTTP/2 that are told a length do not wait for the frame that ends the stream.
    told = status != 204 and scope["http_version"] != "2"
    headers = [(b"content-length", str(len(body)).encode())] if told else []
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})
