"""Serves paths that take a known time, as most Python programs do: threads, and OpenSSL by the ssl module.

Arguments: the port, and of TLS the certificate's file and the key's. The threads stay, so that their processor time can
be read at any moment.
"""

import socket
import ssl
import sys
import threading
import time

THREADS = 32
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"


def busy(seconds):
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


HANDLERS = {
    b"/50us": lambda: busy(50e-6),
    b"/1ms": lambda: time.sleep(1e-3),
    b"/10ms": lambda: time.sleep(10e-3),
}


def answer(connection):
    while request := connection.recv(4096):
        HANDLERS.get(request.split(b" ", 2)[1], int)()
        connection.sendall(ANSWER)


def work(listener, context):
    while True:
        connection, _ = listener.accept()
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if context:
                connection = context.wrap_socket(connection, server_side=True)
            answer(connection)
        except OSError:
            pass  # the client left
        finally:
            connection.close()


def main(port, *certificate):
    context = None
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
    listener = socket.create_server(("127.0.0.1", int(port)), backlog=128)
    for _ in range(THREADS - 1):
        threading.Thread(target=work, args=(listener, context), daemon=True).start()
    work(listener, context)


main(*sys.argv[1:])
