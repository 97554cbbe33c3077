"""A client over GnuTLS, by Debian's second build of libcurl. Arguments: 1 or 2 (the version of HTTP), the port, the
certificate to trust.

Each line it reads is a request (method, path, length of the body), each line it writes what came of it: status, length
of the body, nanoseconds.
"""

import ctypes
import sys
from time import perf_counter_ns

curl = ctypes.CDLL("libcurl-gnutls.so.4")
curl.curl_easy_init.restype = ctypes.c_void_p

NOBODY, HTTPGET, POSTFIELDSIZE, HTTP_VERSION, CUSTOMREQUEST = 44, 80, 60, 84, 10036
URL, CAINFO, POSTFIELDS, WRITEFUNCTION = 10002, 10065, 10015, 20011
RESPONSE_CODE, USED_VERSION = 0x200000 + 2, 0x200000 + 46
VERSIONS = {"1": 2, "2": 4}  # CURL_HTTP_VERSION_1_1, CURL_HTTP_VERSION_2TLS
USED = {"1": 2, "2": 3}

version, port, certificate = sys.argv[1:4]
received = 0


@ctypes.CFUNCTYPE(ctypes.c_size_t, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_void_p)
def write(_data, size, count, _user):
    global received
    received += size * count
    return size * count


handle = ctypes.c_void_p(curl.curl_easy_init())


def put(option, value):
    given = ctypes.c_long(value) if isinstance(value, int) else value
    assert curl.curl_easy_setopt(handle, option, given) == 0, option


def told(what):
    value = ctypes.c_long()
    assert curl.curl_easy_getinfo(handle, what, ctypes.byref(value)) == 0
    return value.value


put(CAINFO, certificate.encode())
put(HTTP_VERSION, VERSIONS[version])
put(WRITEFUNCTION, write)
for line in sys.stdin:
    method, path, length = line.split()
    put(HTTPGET, 1)
    put(CUSTOMREQUEST, None)
    body = b"x" * int(length)
    if method == "HEAD":
        put(NOBODY, 1)
    else:
        put(NOBODY, 0)
        put(HTTPGET, 1)
        if body:
            put(POSTFIELDS, body)
            put(POSTFIELDSIZE, len(body))
        elif method != "GET":
            put(CUSTOMREQUEST, method.encode())
    put(URL, f"https://127.0.0.1:{port}{path}".encode())
    received = 0
    started = perf_counter_ns()
    code = curl.curl_easy_perform(handle)
    took = perf_counter_ns() - started
    assert code == 0, f"libcurl's error {code}"
    assert told(USED_VERSION) == USED[version], "another version of HTTP"
    print(told(RESPONSE_CODE), received, took, flush=True)
curl.curl_easy_cleanup(handle)
