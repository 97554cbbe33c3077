"""A FastAPI application that calls a database, a cache and another service as the path says, and writes down what it did.

PORT LOG POSTGRES REDIS OTHER LOOP: its port, a file, two ports, a URL and a loop (asyncio, uvloop). Each call is made by
the task that serves the request (/work), by one of its own (/tasks), or all by a thread of a pool (/threads).
"""

import asyncio
import json
import sys
import threading
import urllib.request
from contextlib import asynccontextmanager

import asyncpg
import httpx
import psycopg
import redis as redis_of_threads
import redis.asyncio as redis
import uvicorn
from fastapi import FastAPI, Request

import wire

PORT, LOG, POSTGRES, REDIS, OTHER, LOOP = sys.argv[1:7]
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


async def in_place(call):
    await call


async def in_a_task(call):
    await asyncio.gather(call)


@app.get("/work/{databases}/{caches}/{externals}")
async def work(databases: int, caches: int, externals: int, request: Request):
    return await serve([databases, caches, externals], request, in_place)


@app.get("/tasks/{databases}/{caches}/{externals}")
async def tasks(databases: int, caches: int, externals: int, request: Request):
    return await serve([databases, caches, externals], request, in_a_task)


async def serve(counts, request, run):
    databases, caches, externals = counts
    calls = []

    async def timed(kind, call):
        with wire.Call(kind) as timed:
            await run(call)
        calls.append(timed)

    async def query():
        async with state.database.acquire() as connection:
            await connection.fetchval("SELECT pg_sleep(0.005)")

    state = request.app.state
    for turn in range(max(counts)):
        if turn < databases:
            await timed("database", query())
        if turn < caches:
            await timed("cache", state.cache.get(f"key{turn}"))
        if turn < externals:
            await timed("external", state.other.get(OTHER))
    return done(request, calls)


own = threading.local()


@app.get("/threads/{databases}/{caches}/{externals}")
def threads(databases: int, caches: int, externals: int, request: Request):
    calls = []

    def timed(kind, call):
        with wire.Call(kind) as timed:
            call()
        calls.append(timed)

    fresh = not hasattr(own, "database")
    if fresh:
        own.database = psycopg.connect(
            host="127.0.0.1", port=int(POSTGRES), user="postgres", autocommit=True, prepare_threshold=None
        )
        own.cache = redis_of_threads.Redis(port=int(REDIS))
    for turn in range(max(databases, caches, externals)):
        if turn < databases:
            timed("database", lambda: own.database.execute("SELECT pg_sleep(0.005)").fetchall())
        if turn < caches:
            timed("cache", lambda: own.cache.get(f"key{turn}"))
        if turn < externals:
            timed("external", lambda: urllib.request.urlopen(OTHER).read())
    return done(request, calls, fresh)


def done(request, calls, fresh=False):
    log.write(json.dumps({"id": request.headers["x-request-id"], "calls": [call.told() for call in calls], "fresh": fresh}) + "\n")
    return {"done": True}


if __name__ == "__main__":
    wire.watch()
    uvicorn.run(app, host="127.0.0.1", port=int(PORT), log_level="warning", loop=LOOP)
