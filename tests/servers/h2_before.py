"""An HTTP/2 client without TLS that was there before: asks once, writes `ready`, and goes on when it is told so by a line.

Arguments: the port; how many requests follow; `upgrade` if the connection is to begin as HTTP/1.1 (RFC 7540, 3.2).
"""

import socket
import sys

import h2.config
import h2.connection
import h2.events

port, count, upgrade = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:] == ["upgrade"]
connection = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
wire = socket.create_connection(("127.0.0.1", port))
wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def wait(stream):
    """The status of a stream, once it has ended."""
    status = None
    while True:
        received = wire.recv(65536)
        assert received, "the server closed"
        for event in connection.receive_data(received):
            if isinstance(event, h2.events.ResponseReceived) and event.stream_id == stream:
                status = dict(event.headers)[":status"]
            if isinstance(event, h2.events.StreamEnded) and event.stream_id == stream:
                wire.sendall(connection.data_to_send())
                return status
        wire.sendall(connection.data_to_send())


def ask(path):
    stream = connection.get_next_available_stream_id()
    fields = [(":method", "GET"), (":scheme", "http"), (":path", path), (":authority", "shop.example")]
    connection.send_headers(stream, fields + [("x-request-id", "r1")], end_stream=True)
    wire.sendall(connection.data_to_send())
    return wait(stream)


if upgrade:
    settings = connection.initiate_upgrade_connection().decode()
    wire.sendall(
        b"GET /hello HTTP/1.1\r\nHost: shop.example\r\nConnection: Upgrade, HTTP2-Settings\r\n"
        b"Upgrade: h2c\r\nHTTP2-Settings: " + settings.encode() + b"\r\n\r\n"
    )
    head = b""
    while b"\r\n\r\n" not in head:
        head += wire.recv(1)
    assert head.startswith(b"HTTP/1.1 101 "), head
    wire.sendall(connection.data_to_send())
    print("/hello", wait(1), flush=True)
else:
    connection.initiate_connection()
    wire.sendall(connection.data_to_send())
    assert ask("/before") == "404"
    print("ready", flush=True)
    sys.stdin.readline()
for number in range(count):
    path = f"/missing-{number % 3}"
    print(path, ask(path), flush=True)
wire.close()
