"""A client over Python's TLS. Arguments: 1 or 2 (the version of HTTP), the port, the certificate to trust, and how:
`sync` (OpenSSL reads and writes the socket) or `async` (through memory).

Each line it reads is a request (method, path, length of the body), each line it writes what came of it: status, length
of the body, nanoseconds.
"""

import asyncio
import ssl
import sys
from time import perf_counter_ns

import httpx

version, port, certificate, how = sys.argv[1:5]
settings = {
    "http1": version == "1",
    "http2": version == "2",
    "base_url": f"https://127.0.0.1:{port}",
    "verify": ssl.create_default_context(cafile=certificate),
    "limits": httpx.Limits(max_connections=1, keepalive_expiry=600),
    "timeout": 60,
    "headers": {"accept-encoding": "identity"},
}


def request(line):
    method, path, length = line.split()
    return {"method": method, "url": path, "content": b"x" * int(length) if int(length) else None}


def said(answer, started):
    assert answer.http_version == ("HTTP/2" if version == "2" else "HTTP/1.1"), answer.http_version
    print(answer.status_code, len(answer.content), perf_counter_ns() - started, flush=True)


async def asynchronous():
    loop = asyncio.get_running_loop()
    async with httpx.AsyncClient(**settings) as client:
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            started = perf_counter_ns()
            said(await client.request(**request(line)), started)


if how == "async":
    asyncio.run(asynchronous())
else:
    with httpx.Client(**settings) as client:
        for line in sys.stdin:
            started = perf_counter_ns()
            said(client.request(**request(line)), started)
