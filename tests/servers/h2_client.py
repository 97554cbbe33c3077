"""An HTTP/2 client without TLS: asks for paths, as many at once as it is told, all on one connection.

Arguments: the port; how many at once; then method and path of each request. Writes each status on a line.
"""

import asyncio
import sys

import httpx


async def main(port, at_once, requests):
    slots = asyncio.Semaphore(at_once)
    limits = httpx.Limits(max_connections=1)
    base = f"http://127.0.0.1:{port}"
    async with httpx.AsyncClient(http1=False, http2=True, base_url=base, limits=limits, timeout=60) as client:

        async def ask(method, path):
            async with slots:
                body = b"x" * 50_000 if method == "POST" else None
                answer = await client.request(method, path, content=body)
                return method, path, answer.status_code, len(answer.content)

        # The first one alone, so that the others find its connection.
        answers = [await ask(*requests[0])]
        answers += await asyncio.gather(*(ask(*request) for request in requests[1:]))
    for answer in answers:
        print(*answer)


words = sys.argv[3:]
asyncio.run(main(sys.argv[1], int(sys.argv[2]), list(zip(words[::2], words[1::2]))))
