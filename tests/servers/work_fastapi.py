"""A FastAPI application that calls a database, a cache and another service as the path says, and writes down what it did.

PORT LOG POSTGRES REDIS OTHER: its port, a file, two ports and a URL.
"""

import json
import sys
import time
from contextlib import asynccontextmanager

import asyncpg
import httpx
import redis.asyncio as redis
import uvicorn
from fastapi import FastAPI, Request

PORT, LOG, POSTGRES, REDIS, OTHER = sys.argv[1:6]
CONNECTIONS = 40
log = open(LOG, "a", buffering=1)


@asynccontextmanager
async def lifespan(app):
    # A connection that is given back is not asked to reset itself: that would be a query of nobody's.
    app.state.database = await asyncpg.create_pool(
        host="127.0.0.1", port=int(POSTGRES), user="postgres", database="postgres",
        min_size=CONNECTIONS, max_size=CONNECTIONS, reset=no_reset,
    )
    # With a time limit, every command would be a task of its own before Python 3.12.
    app.state.cache = redis.Redis(port=int(REDIS), max_connections=CONNECTIONS, socket_timeout=None)
    limits = httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS)
    app.state.other = httpx.AsyncClient(limits=limits)
    yield


async def no_reset(connection):
    pass


app = FastAPI(lifespan=lifespan)


@app.get("/work/{databases}/{caches}/{externals}")
async def work(databases: int, caches: int, externals: int, request: Request):
    calls = []

    async def timed(kind, call):
        began = time.monotonic_ns()
        await call
        calls.append([kind, began, time.monotonic_ns()])

    state = request.app.state
    for turn in range(max(databases, caches, externals)):
        if turn < databases:
            async with state.database.acquire() as connection:
                await timed("database", connection.fetchval("SELECT pg_sleep(0.005)"))
        if turn < caches:
            await timed("cache", state.cache.get(f"key{turn}"))
        if turn < externals:
            await timed("external", state.other.get(OTHER))
    log.write(json.dumps({"id": request.headers["x-request-id"], "calls": calls}) + "\n")
    return {"done": True}


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(PORT), log_level="warning", loop="asyncio")
