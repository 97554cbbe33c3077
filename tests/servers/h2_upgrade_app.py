"""An HTTP/2 server without TLS that connections come to as HTTP/1.1 (RFC 7540, 3.2). Answers /hello with 200 and a body,
everything else with 404. One connection after the other.

Arguments: the port.
"""

import socket
import sys

import h2.config
import h2.connection
import h2.events
import h2.exceptions


def answer(connection, stream, path):
    status = "200" if path == "/hello" else "404"
    connection.send_headers(stream, [(":status", status), ("server", "upgrade")], end_stream=status != "200")
    if status == "200":
        connection.send_data(stream, b"hello" * 1000, end_stream=True)


def serve(wire):
    head = b""
    while b"\r\n\r\n" not in head:
        received = wire.recv(65536)
        if not received:
            return
        head += received
    lines = head.decode().split("\r\n")
    fields = dict(line.lower().split(": ", 1) for line in lines[1:] if ": " in line)
    settings = next(line.split(": ", 1)[1] for line in lines if line.startswith("HTTP2-Settings: "))
    assert fields["upgrade"] == "h2c"
    config = h2.config.H2Configuration(client_side=False, header_encoding="utf-8")
    connection = h2.connection.H2Connection(config)
    connection.initiate_upgrade_connection(settings.encode())
    wire.sendall(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
    answer(connection, 1, lines[0].split(" ")[1])
    wire.sendall(connection.data_to_send())
    while received := wire.recv(65536):
        for event in connection.receive_data(received):
            if isinstance(event, h2.events.RequestReceived):
                answer(connection, event.stream_id, dict(event.headers)[":path"])
        wire.sendall(connection.data_to_send())


listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
while True:
    wire, _ = listener.accept()
    with wire:
        serve(wire)
