"""A client of streams_app.py that keeps a log of its own, as JSON on its last line.

Arguments: the port; `chat` and lengths of messages, or `events` and how many. `chat` writes `open` when all messages were
answered, and closes when its standard input does.
"""

import http.client
import json
import sys

from websockets.sync.client import connect


def frame_bytes(length, masked):
    return 2 + (0 if length < 126 else 2 if length < 65536 else 8) + (4 if masked else 0) + length


def chat(port, lengths):
    log = {"sent": 0, "received": 0, "messages_sent": 0, "messages_received": 0}
    with connect(f"ws://127.0.0.1:{port}/chat", compression=None, max_size=None, ping_interval=None) as socket:
        for length in lengths:
            socket.send("x" * length)
            log["messages_sent"] += 1
            log["sent"] += frame_bytes(length, True)
            for _ in range(2):
                assert len(socket.recv()) == length
                log["messages_received"] += 1
                log["received"] += frame_bytes(length, False)
        print("open", flush=True)
        sys.stdin.read()
    # The close frames, each with a code.
    log["sent"] += frame_bytes(2, True)
    log["received"] += frame_bytes(2, False)
    print(json.dumps(log))


def events(port, count):
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("GET", f"/events/{count}")
    answer = connection.getresponse()
    assert answer.status == 200
    body = answer.read()
    assert body.count(b"data: ") == count
    # Each event is a chunk: its length in hexadecimal, and two line ends.
    wire = count * (len(b"data: 00000000\n\n") + len("10") + 4) + len("0\r\n\r\n")
    connection.request("GET", "/hello")
    assert connection.getresponse().read()
    print(json.dumps({"received": wire}))


if sys.argv[2] == "chat":
    chat(sys.argv[1], [int(length) for length in sys.argv[3:]])
else:
    events(sys.argv[1], int(sys.argv[3]))
