"""A name server: ADDRESS PORT. Says of each query its type and name.

Every name below `test` is another one's (an alias), which has the address 127.0.0.1 and none of the other family; `gone…` is
none, `mute…` gets no answer, and of any query for `late…` the answer comes behind that of the next one.
"""

import socket
import struct
import sys

TYPES = {1: "A", 28: "AAAA"}


def answer(query):
    at, labels = 12, []
    while query[at]:
        labels.append(query[at + 1 : at + 1 + query[at]])
        at += 1 + query[at]
    kind = struct.unpack_from("!H", query, at + 1)[0]
    question = query[12 : at + 5]
    name = b".".join(labels).decode().lower()
    print(TYPES.get(kind, kind), name, flush=True)
    if name.startswith("mute"):
        return name, None
    code, records = 0, []
    if name.startswith("gone"):
        code = 3
    else:
        alias = b"\x04edge\xc0\x0c"
        records.append(b"\xc0\x0c" + struct.pack("!HHIH", 5, 1, 60, len(alias)) + alias)
        if kind == 1:
            place = 0xC000 | 12 + len(question) + 12
            records.append(struct.pack("!HHHIH", place, 1, 1, 60, 4) + bytes([127, 0, 0, 1]))
    header = query[:2] + struct.pack("!HHHHH", 0x8580 | code, 1, len(records), 0, 0)
    return name, header + question + b"".join(records)


server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind((sys.argv[1], int(sys.argv[2])))
print("ready", flush=True)
held = []
while True:
    query, client = server.recvfrom(4096)
    name, message = answer(query)
    if message is None:
        continue
    if name.startswith("late") and not held:
        held.append((message, client))
        continue
    server.sendto(message, client)
    while held:
        server.sendto(*held.pop())
