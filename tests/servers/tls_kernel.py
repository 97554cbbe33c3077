"""HTTP/1.1 over the kernel's own TLS, by plain reads and writes of the socket: a server and a client with keys that both
know, since the kernel encrypts and shakes no hands.

Arguments: `server` or `client`, the port, the version of TLS (`1.2`, `1.3`), and `hellos` if both ends send a record of
a handshake before the keys are handed over. The site is that of site.rs, as far as the client asks for it; the server
writes each request on a line, the client `status length`.
"""

import socket
import struct
import sys
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TCP_ULP, SOL_TLS, TLS_TX, TLS_RX, AES_GCM_128 = 31, 282, 1, 2, 51
ROLE, PORT, VERSION = sys.argv[1], int(sys.argv[2]), {"1.2": 0x0303, "1.3": 0x0304}[sys.argv[3]]
HELLOS = "hellos" in sys.argv[4:]
PAGES = {"/hello": b"hello\n", "/empty": b"", "/page": b"p" * 20_000, "/large": b"l" * 1_048_576}


def keys(side):
    """struct tls12_crypto_info_aes_gcm_128: version, cipher, then what the side that sends encrypts with."""
    iv, key, salt, number = [bytes([side + place] * size) for place, size in enumerate((8, 16, 4))] + [bytes(8)]
    return struct.pack("=HH8s16s4s8s", VERSION, AES_GCM_128, iv, key, salt, number)


def hello(kind):
    body = b"\x03\x03" + bytes(32)
    message = bytes([kind]) + len(body).to_bytes(3, "big") + body
    return b"\x16\x03\x03" + len(message).to_bytes(2, "big") + message


def receive(connection, length):
    while length:
        length -= len(connection.recv(length)) or sys.exit("the peer is gone")


def hand_over(connection, is_server):
    if HELLOS:
        if not is_server:
            connection.sendall(hello(1))
        receive(connection, len(hello(1)))
        if is_server:
            connection.sendall(hello(2))
    connection.setsockopt(socket.IPPROTO_TCP, TCP_ULP, b"tls")
    connection.setsockopt(SOL_TLS, TLS_TX, keys(0x10 if is_server else 0x20))
    connection.setsockopt(SOL_TLS, TLS_RX, keys(0x20 if is_server else 0x10))


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def setup(self):
        hand_over(self.request, True)
        super().setup()

    def answer(self, status, body):
        print(self.command, self.path, status, len(body), flush=True)
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_GET(self):
        found = PAGES.get(self.path)
        self.answer(404 if found is None else 200, b"missing\n" if found is None else found)

    do_HEAD = do_GET

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(201, b"stored\n")

    def log_message(self, *arguments):
        pass


class Server(ThreadingHTTPServer):
    def handle_error(self, request, client_address):
        print("gone:", sys.exc_info()[1], flush=True)  # who only looked whether somebody listens


if ROLE == "server":
    Server(("127.0.0.1", PORT), Handler).serve_forever()
client = HTTPConnection("127.0.0.1", PORT)
client.connect()
hand_over(client.sock, False)
for line in sys.stdin:
    method, path, length = line.split()
    client.request(method, path, body=b"x" * int(length) if int(length) else None)
    answer = client.getresponse()
    print(answer.status, len(answer.read()), 0, flush=True)
client.close()
