"""A server over TLS in which threads take turns with each connection: one shakes hands, one reads, one writes.

Arguments: the port, the certificate, its key. Paths: see `site.rs`. Writes each request on a line.
"""

import os
import queue
import select
import socket
import ssl
import sys
import threading

from tls_app import BODIES

to_shake, to_read, to_write = queue.Queue(), queue.Queue(), queue.Queue()
quiet = queue.Queue()
bell, ringer = socket.socketpair()


class Connection:
    def __init__(self, socket):
        self.socket = socket
        self.received = b""

    def rest(self):
        """It waits for its next request."""
        if self.received or self.socket.pending():
            to_read.put(self)
        else:
            quiet.put(self)
            ringer.send(b".")


def shake():
    while True:
        accepted = to_shake.get()
        try:
            Connection(context.wrap_socket(accepted, server_side=True)).rest()
        except (ssl.SSLError, ConnectionError):
            accepted.close()


def read():
    while True:
        connection = to_read.get()
        request = next_request(connection)
        if request is None:
            connection.socket.close()
        else:
            to_write.put((connection, *request))


def next_request(connection):
    def more():
        part = connection.socket.recv(16384)
        connection.received += part
        return part

    while b"\r\n\r\n" not in connection.received:
        if not more():
            return None
    head, _, connection.received = connection.received.partition(b"\r\n\r\n")
    method, path, _ = head.decode().split("\r\n")[0].split(" ")
    length = 0
    for line in head.decode().lower().split("\r\n"):
        if line.startswith("content-length: "):
            length = int(line.split(": ")[1])
    while len(connection.received) < length:
        if not more():
            return None
    connection.received = connection.received[length:]
    return method, path, length


def write():
    while True:
        connection, method, path, received = to_write.get()
        status, answer = BODIES.get(path, (404, b"missing\n"))
        # In one write: others write too.
        os.write(1, f"{method} {path} {status} {received}\n".encode())
        length = b"" if status == 204 else b"Content-Length: %d\r\n" % len(answer)
        answer = b"" if method == "HEAD" else answer
        connection.socket.sendall(b"HTTP/1.1 %d Said\r\n%s\r\n" % (status, length) + answer)
        connection.rest()


context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
context.load_cert_chain(sys.argv[2], sys.argv[3])
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=128)
# Two of each: a connection comes to another thread from one request to the next.
for work in [shake, shake, read, read, write, write]:
    threading.Thread(target=work, daemon=True).start()
waiting = {}
while True:
    for readable in select.select([listener, bell, *waiting], [], [])[0]:
        if readable is listener:
            to_shake.put(listener.accept()[0])
        elif readable is bell:
            for _ in bell.recv(4096):
                connection = quiet.get()
                waiting[connection.socket] = connection
        else:
            to_read.put(waiting.pop(readable))
