"""A server whose connections change hands: accepted in one process, served in another.

fork  the child inherits the accepted socket
exec  the child inherits it and replaces its program
pass  a worker that was there before gets it over a Unix socket
"""

import os
import socket
import sys

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


def serve(connection):
    """Answers requests without a body until the end of the stream."""
    received = b""
    while data := connection.recv(4096):
        received += data
        while b"\r\n\r\n" in received:
            _, _, received = received.partition(b"\r\n\r\n")
            connection.sendall(ANSWER)
    connection.close()


def listen(port):
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(128)
    return listener


def main():
    if sys.argv[1] == "serve":  # what `exec` starts
        serve(socket.socket(fileno=int(sys.argv[2])))
        return
    listener = listen(int(sys.argv[1]))
    scenario = sys.argv[2]
    if scenario == "pass":
        ours, theirs = socket.socketpair()
        if os.fork() == 0:
            ours.close()
            listener.close()
            while True:
                message, descriptors, _, _ = socket.recv_fds(theirs, 1, 1)
                if not message:
                    os._exit(0)
                serve(socket.socket(fileno=descriptors[0]))
        theirs.close()
        while True:
            connection, _ = listener.accept()
            socket.send_fds(ours, [b"."], [connection.fileno()])
            connection.close()
    while True:
        connection, _ = listener.accept()
        child = os.fork()
        if child == 0:
            listener.close()
            if scenario == "exec":
                connection.set_inheritable(True)
                os.execv(sys.executable, [sys.executable, __file__, "serve", str(connection.fileno())])
            serve(connection)
            os._exit(0)
        connection.close()
        os.waitpid(child, 0)


main()
