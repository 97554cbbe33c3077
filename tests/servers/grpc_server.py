"""A gRPC server without TLS and without generated code: bodies are bytes. Argument: the port.

/shop.Basket/Add answers with what it got, /shop.Basket/Fail with an error, /shop.Basket/Watch with ten messages. Writes
each call on a line.
"""

import sys
from concurrent.futures import ThreadPoolExecutor

import grpc


def add(request, context):
    print("Add", len(request), flush=True)
    return request


def fail(request, context):
    print("Fail", len(request), flush=True)
    context.abort(grpc.StatusCode.FAILED_PRECONDITION, "the basket is full")


def watch(request, context):
    print("Watch", len(request), flush=True)
    for number in range(10):
        yield bytes([number])


methods = {
    "Add": grpc.unary_unary_rpc_method_handler(add),
    "Fail": grpc.unary_unary_rpc_method_handler(fail),
    "Watch": grpc.unary_stream_rpc_method_handler(watch),
}
server = grpc.server(ThreadPoolExecutor(4))
server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("shop.Basket", methods)])
assert server.add_insecure_port(f"127.0.0.1:{sys.argv[1]}") == int(sys.argv[1])
server.start()
server.wait_for_termination()
