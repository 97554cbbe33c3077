//! HTTP/1.x, RFC 9112.
