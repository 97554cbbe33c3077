"""A server over TLS that asks another one over TLS for each of its answers, both in one thread (uvicorn, httpx).

Arguments: the port, the files of the certificate and of its key, what to ask.
"""

import sys

import httpx
import uvicorn
from fastapi import FastAPI, Response

port, certificate, key, upstream = sys.argv[1:]
app = FastAPI()
client = httpx.AsyncClient(verify=False, limits=httpx.Limits(max_connections=64, max_keepalive_connections=64))


@app.get("/front")
async def front():
    answer = await client.get(upstream)
    return Response("front", status_code=answer.status_code)


uvicorn.run(app, host="127.0.0.1", port=int(port), ssl_certfile=certificate, ssl_keyfile=key, log_level="warning")
