"""A Flask application for gunicorn that calls databases, a cache and another service as the path says, and writes down
what it did.

LOG POSTGRES MYSQL REDIS OTHER in the environment: a file, three ports and a URL. Each thread has connections of its own.
"""

import json
import os
import threading
import urllib.request

import psycopg
import pymysql
import redis
from flask import Flask, request

import wire

POSTGRES, MYSQL, REDIS = (int(os.environ[name]) for name in ("POSTGRES", "MYSQL", "REDIS"))
OTHER = os.environ["OTHER"]
wire.watch()
app = Flask(__name__)
own = threading.local()
log = open(os.environ["LOG"], "a", buffering=1)


def connections():
    own.fresh = not hasattr(own, "postgres")
    if own.fresh:
        own.postgres = psycopg.connect(host="127.0.0.1", port=POSTGRES, user="postgres", autocommit=True, prepare_threshold=None)
        own.mysql = pymysql.connect(host="127.0.0.1", port=MYSQL, user="root", autocommit=True)
        own.redis = redis.Redis(port=REDIS)
    return own


def query(connection):
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 + 1")
        cursor.fetchall()


def other():
    with urllib.request.urlopen(OTHER) as answer:
        answer.read()


@app.get("/work/<int:databases>/<int:caches>/<int:externals>")
def work(databases, caches, externals):
    calls = []

    def timed(kind, call):
        with wire.Call(kind) as timed:
            call()
        calls.append(timed)

    mine = connections()
    for turn in range(max(databases, caches, externals)):
        if turn < databases:
            timed("database", lambda: query(mine.postgres if turn % 2 else mine.mysql))
        if turn < caches:
            timed("cache", lambda: mine.redis.get(f"key{turn}"))
        if turn < externals:
            timed("external", other)
    log.write(json.dumps({"id": request.headers["x-request-id"], "calls": [call.told() for call in calls], "fresh": mine.fresh}) + "\n")
    return {"done": True}
