"""When the bytes of an application's calls moved, by the sockets that Python itself reads and writes: what a library does
before and behind that is not in it. Libraries that use sockets of their own (libpq, uvloop) are not seen."""

import contextvars
import socket
import time
import weakref

_current = contextvars.ContextVar("call", default=None)
_asked = weakref.WeakKeyDictionary()


class Call:
    """A call: its kind, when it began and ended for the application, and on the wire (or nothing)."""

    def __init__(self, kind):
        self.kind = kind
        self.sent = self.received = None

    def __enter__(self):
        _current.set(self)
        self.began = time.monotonic_ns()
        return self

    def __exit__(self, *_):
        self.ended = time.monotonic_ns()
        _current.set(None)

    def told(self):
        return [self.kind, self.began, self.ended, self.sent, self.received]


def _sends(name):
    original = getattr(socket.socket, name)

    def send(self, *arguments):
        call = _current.get()
        if call is not None:
            call.sent = call.sent or time.monotonic_ns()
            _asked[self] = call
        return original(self, *arguments)

    setattr(socket.socket, name, send)


def _receives(name):
    original = getattr(socket.socket, name)

    def receive(self, *arguments):
        received = original(self, *arguments)
        call = _asked.get(self)
        if call is not None:
            call.received = time.monotonic_ns()
        return received

    setattr(socket.socket, name, receive)


def watch():
    for name in ("send", "sendall", "sendmsg"):
        _sends(name)
    for name in ("recv", "recv_into", "recvmsg"):
        _receives(name)
