"""An HTTP/2 client without TLS that speaks WebSocket through a stream (RFC 8441), and asks for something else beside it.

Arguments: the port; how many messages. Writes `open` when the stream is, and goes on when its input ends.
"""

import os
import socket
import sys

import h2.config
import h2.connection
import h2.events
import h2.settings

port, count = int(sys.argv[1]), int(sys.argv[2])
connection = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
wire = socket.create_connection(("127.0.0.1", port))
wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
statuses, received, ended = {}, {}, set()


def wait(until):
    while not until():
        wire.sendall(connection.data_to_send())
        got = wire.recv(65536)
        assert got, "the server closed"
        for event in connection.receive_data(got):
            if isinstance(event, h2.events.ResponseReceived):
                statuses[event.stream_id] = dict(event.headers)[":status"]
            elif isinstance(event, h2.events.DataReceived):
                received[event.stream_id] = received.get(event.stream_id, b"") + event.data
                connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, h2.events.StreamEnded):
                ended.add(event.stream_id)
    wire.sendall(connection.data_to_send())


def ask(fields, end_stream):
    stream = connection.get_next_available_stream_id()
    connection.send_headers(stream, [(":authority", "shop.example"), *fields], end_stream=end_stream)
    return stream


def frame(kind, payload):
    """One from a client (RFC 6455, 5.2), short, and masked with zeros."""
    return bytes([0x80 | kind, 0x80 | len(payload)]) + bytes(4) + payload


connection.initiate_connection()
wait(lambda: connection.remote_settings.enable_connect_protocol)
chat = ask(
    [
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "http"),
        (":path", "/chat?room=1"),
        ("sec-websocket-version", "13"),
    ],
    False,
)
wait(lambda: chat in statuses)
assert statuses[chat] == "200", statuses
print("open", flush=True)
sys.stdin.read()
for number in range(count):
    message = frame(1, b"message %02d" % number)
    connection.send_data(chat, message)
    # Sent back twice, each with two bytes before it.
    wait(lambda: len(received.get(chat, b"")) >= (number + 1) * 2 * (2 + 10))
hello = ask([(":method", "GET"), (":scheme", "http"), (":path", "/hello")], True)
wait(lambda: hello in ended)
assert statuses[hello] == "200", statuses
# hypercorn says goodbye as well and closes the connection, and not the stream.
connection.send_data(chat, frame(8, b"\x03\xe8"), end_stream=True)
wait(lambda: received[chat].endswith(b"\x88\x02\x03\xe8"))
wire.close()
