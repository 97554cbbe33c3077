//! Servers and clients over TLS, each with the TLS of somebody else: OpenSSL in a library, in a program, by a socket or
//! through memory; `GnuTLS`; Go's; rustls.
//!
//! Read in this order: [`certificate`], [`site`] (what every server here answers), [`server`] and [`nginx`] (who answers
//! it), [`client`] and [`load`] (who asks), [`room`] (a file system of one's own), [`go`] (how Go's programs are built), [`old`] (programs of an
//! older release), [`trust`] (whom programs by rustls trust).
//!
//! All servers write a log, all clients say what they got: [`site::Asked`] holds the one against the other.

pub mod certificate;
pub mod client;
pub mod go;
pub mod load;
pub mod nginx;
pub mod old;
pub mod room;
pub mod server;
pub mod site;
pub mod trust;

pub use certificate::Certificate;
pub use client::Talker;
pub use server::{Server, Serves};
pub use site::{Answer, Ask, Asked, Http};
