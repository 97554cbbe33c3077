"""A gRPC server without TLS and without protocol buffers: messages are bytes.

Arguments: the port.
"""

import sys
import time
from concurrent import futures

import grpc


def echo(request, context):
    return request


def refuse(request, context):
    context.abort(grpc.StatusCode.NOT_FOUND, "there is none")


def tick(request, context):
    """So many messages, with longer pauses than within a message."""
    for number in range(int(request)):
        time.sleep(1.1 if number else 0)
        yield b"tick"


def fail(requests, context):
    """Each message back, and at last an error."""
    for request in requests:
        yield request
    context.abort(grpc.StatusCode.UNAVAILABLE, "enough")


server = grpc.server(futures.ThreadPoolExecutor(8))
handlers = {
    "Echo": grpc.unary_unary_rpc_method_handler(echo),
    "Refuse": grpc.unary_unary_rpc_method_handler(refuse),
    "Tick": grpc.unary_stream_rpc_method_handler(tick),
    "Fail": grpc.stream_stream_rpc_method_handler(fail),
}
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("shop.Cart", handlers),))
assert server.add_insecure_port(f"127.0.0.1:{sys.argv[1]}")
server.start()
server.wait_for_termination()
