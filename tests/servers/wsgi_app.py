"""A WSGI application that says which process answered."""

import os
import time


def application(environ, start_response):
    if environ["PATH_INFO"] == "/ten":
        time.sleep(0.010)
    body = str(os.getpid()).encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
