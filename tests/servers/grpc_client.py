"""A client of grpc_app.py. Writes method and code of each call on a line.

Arguments: the port; how many calls of each kind.
"""

import sys
import time

import grpc

port, calls = sys.argv[1], int(sys.argv[2])


def say(method, call):
    try:
        call()
        code = grpc.StatusCode.OK
    except grpc.RpcError as error:
        code = error.code()
    print(f"/shop.Cart/{method}", code.value[0])


def chat():
    for _ in range(3):
        yield b"word"
        time.sleep(0.1)


with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
    unary = {name: channel.unary_unary(f"/shop.Cart/{name}") for name in ("Echo", "Refuse", "Missing")}
    for _ in range(calls):
        for name, method in unary.items():
            say(name, lambda: method(b"x" * 100))
    say("Tick", lambda: list(channel.unary_stream("/shop.Cart/Tick")(b"3")))
    say("Fail", lambda: list(channel.stream_stream("/shop.Cart/Fail")(chat())))
