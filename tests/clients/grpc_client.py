"""A gRPC client without TLS. Arguments: the port, then what to call: Add, Fail, Watch. Writes for each the status's name
and the number of messages that came.
"""

import sys

import grpc

with grpc.insecure_channel(f"127.0.0.1:{sys.argv[1]}") as channel:
    for number, name in enumerate(sys.argv[2:]):
        method = f"/shop.Basket/{name}"
        body = b"x" * (number * 1000)
        try:
            if name == "Watch":
                count = len(list(channel.unary_stream(method)(body)))
            else:
                count = len([channel.unary_unary(method)(body)])
            print("OK", count)
        except grpc.RpcError as error:
            print(error.code().name, 0)
