"""A FastAPI application on uvicorn that measures itself twice, so that the agent can be held against both:

middleware  what a user would otherwise write by hand: count, mean, p95, p99 and total per endpoint, around the handler
socket      from the return of the read that gave a request's first byte to the return of the write of its answer's last

/stats gives both. All times are CLOCK_MONOTONIC nanoseconds.
"""

import asyncio
import math
import sys
from collections import defaultdict
from time import perf_counter_ns

import uvicorn
from fastapi import FastAPI
from fastapi.responses import JSONResponse
from uvicorn.protocols.http.h11_impl import H11Protocol

app = FastAPI()


class Samples:
    def __init__(self):
        self.by_endpoint = defaultdict(list)

    def add(self, endpoint, nanoseconds):
        self.by_endpoint[endpoint].append(nanoseconds)

    def summary(self):
        return {endpoint: summarise(samples) for endpoint, samples in self.by_endpoint.items()}


def summarise(samples):
    ordered = sorted(samples)

    def rank(share):
        return ordered[max(math.ceil(share * len(ordered)), 1) - 1] / 1e6

    return {
        "count": len(ordered),
        "total": sum(ordered) / 1e6,
        "mean": sum(ordered) / len(ordered) / 1e6,
        "median": rank(0.5),
        "p95": rank(0.95),
        "p99": rank(0.99),
    }


middleware, at_socket = Samples(), Samples()


def endpoint_of(scope):
    route = scope.get("route")
    return f"{scope['method']} {route.path if route else scope['path']}"


class Timing:
    def __init__(self, inner):
        self.inner = inner

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            await self.inner(scope, receive, send)
            return
        started = perf_counter_ns()
        try:
            await self.inner(scope, receive, send)
        finally:
            scope["state"]["endpoint"] = endpoint_of(scope)
            middleware.add(endpoint_of(scope), perf_counter_ns() - started)


app.add_middleware(Timing)


class TimedTransport:
    """Notes when the last write returned."""

    def __init__(self, transport):
        self.transport = transport
        self.written = 0

    def write(self, data):
        self.transport.write(data)
        self.written = perf_counter_ns()

    def __getattr__(self, name):
        return getattr(self.transport, name)


class TimedProtocol(H11Protocol):
    first_read = None

    def connection_made(self, transport):
        super().connection_made(TimedTransport(transport))

    def data_received(self, data):
        if self.first_read is None:
            self.first_read = perf_counter_ns()
        super().data_received(data)

    def on_response_complete(self):
        at_socket.add(self.scope["state"].get("endpoint") or endpoint_of(self.scope), self.transport.written - self.first_read)
        self.first_read = None
        super().on_response_complete()


@app.get("/one")
async def one():
    await asyncio.sleep(0.001)
    return {"waited": 1}


@app.get("/ten")
async def ten():
    await asyncio.sleep(0.010)
    return {"waited": 10}


@app.get("/hundred")
async def hundred():
    await asyncio.sleep(0.100)
    return {"waited": 100}


@app.get("/users/{id}")
async def user(id: int):
    return {"id": id}


@app.get("/fail")
async def fail():
    return JSONResponse({"detail": "failed"}, status_code=500)


@app.get("/stats")
async def stats():
    return {"middleware": middleware.summary(), "socket": at_socket.summary()}


uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), http=TimedProtocol, log_level="warning")
