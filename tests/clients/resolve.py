"""Asks for names: by the C library (`libc NAME…`), also to connect to Redis by one (`redis NAME PORT`), or over one socket that is not connected, all at once
(`socket ADDRESS PORT NAME…`), each query with a number of its own."""

import socket
import struct
import sys


def query(number, name):
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return struct.pack("!HHHHHH", number, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!HH", 1, 1)


way, *rest = sys.argv[1:]
if way == "libc":
    for name in rest:
        try:
            print(name, socket.getaddrinfo(name, 80, type=socket.SOCK_STREAM)[0][4][0])
        except socket.gaierror as error:
            print(name, error)
elif way == "redis":
    with socket.create_connection((rest[0], int(rest[1]))) as redis:
        redis.sendall(b"*1\r\n$4\r\nPING\r\n")
        assert redis.recv(100) == b"+PONG\r\n"
else:
    address, port, *names = rest
    asks = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    asks.settimeout(10)
    # Datagrams of somebody else, which are no DNS.
    for other in (b"requests.count:1|c|#a:b", b"\xc3" + bytes(1199), bytes(64)):
        asks.sendto(other, ("127.0.0.1", 9))
    for number, name in enumerate(names, 1):
        asks.sendto(query(number, name), (address, int(port)))
    answered = sorted(struct.unpack_from("!H", asks.recvfrom(4096)[0])[0] for _ in names)
    assert answered == list(range(1, len(names) + 1)), answered
