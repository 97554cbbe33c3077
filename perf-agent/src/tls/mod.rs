//! HTTP inside TLS: seen where programs hand clear text to their TLS library.

pub mod image;
