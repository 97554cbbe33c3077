//! The harness of the whole-program tests: starts the agent, real servers and scripted clients, and compares what the
//! agent's API says with what the clients and servers know.
//!
//! Read in this order: [`need`] (what a test may ask of the machine), [`wait`] (conditions with a deadline), [`child`]
//! (programs that end with their test), [`agent`] and [`api`] (the program under test), [`rows`] (what is compared),
//! then where the truth comes from: [`wire`] and [`ways`] (both ends of a connection, scripted byte by byte),
//! [`client`] and [`server`] (threads that keep a log), [`nginx`], [`python`] and [`wrk`] (programs that others wrote),
//! [`tls`] (those that speak over TLS), [`store`] (databases and caches), [`dns`] (a name server), [`work`] (applications that call them); and
//! [`prometheus`] (who scrapes the agent).
//!
//! Nothing here sleeps for a fixed time in the hope that something has happened by then.

pub mod agent;
pub mod api;
pub mod child;
pub mod client;
pub mod clock;
pub mod dns;
pub mod kernel;
pub mod need;
pub mod nginx;
pub mod prometheus;
pub mod python;
pub mod receiver;
pub mod rows;
pub mod server;
pub mod socket;
pub mod store;
pub mod tape;
pub mod tls;
pub mod uring;
pub mod wait;
pub mod ways;
pub mod wire;
pub mod work;
pub mod wrk;
