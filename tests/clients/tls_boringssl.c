// A client by BoringSSL: passes on what it reads to a server, and what it gets back. Argument: the port. It trusts anybody.

#include <openssl/ssl.h>

#include <arpa/inet.h>
#include <err.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static char bytes[1 << 16];

int main(int count, char **arguments)
{
    if (count != 2)
        errx(2, "argument: port");
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(arguments[1]))};
    inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
    int connection = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(connection, (struct sockaddr *)&address, sizeof address) != 0)
        err(1, "cannot connect");
    SSL *session = SSL_new(SSL_CTX_new(TLS_method()));
    SSL_set_fd(session, connection);
    if (SSL_connect(session) != 1)
        errx(1, "no handshake");
    struct pollfd ready[] = {{.fd = STDIN_FILENO, .events = POLLIN}, {.fd = connection, .events = POLLIN}};
    for (;;) {
        if (SSL_pending(session) == 0 && poll(ready, 2, -1) < 0)
            err(1, "cannot wait");
        if (ready[0].revents != 0) {
            ssize_t length = read(STDIN_FILENO, bytes, sizeof bytes);
            if (length <= 0)
                break;
            if (SSL_write(session, bytes, length) != length)
                errx(1, "cannot write");
        }
        if (ready[1].revents != 0 || SSL_pending(session) != 0) {
            int length = SSL_read(session, bytes, sizeof bytes);
            if (length <= 0)
                break;
            for (char *at = bytes; length > 0;) {
                ssize_t written = write(STDOUT_FILENO, at, length);
                if (written < 0)
                    err(1, "cannot write");
                at += written;
                length -= written;
            }
        }
    }
    SSL_shutdown(session);
    return 0;
}
