"""A WebSocket client over TLS: two connections, twenty messages on each that look like requests and are none.

Arguments: the port, the certificate to trust. Writes how many came back.
"""

import asyncio
import ssl
import sys

from websockets.asyncio.client import connect

REQUEST = "GET /never HTTP/1.1\r\nHost: nobody\r\n\r\n"


async def main(port, certificate):
    context = ssl.create_default_context(cafile=certificate)
    came_back = 0
    for _ in range(2):
        async with connect(f"wss://127.0.0.1:{port}/talk", ssl=context, compression=None, proxy=None) as socket:
            for _ in range(20):
                await socket.send(REQUEST)
                came_back += await socket.recv() == REQUEST
    print(came_back)


asyncio.run(main(*sys.argv[1:3]))
