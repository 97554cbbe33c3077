//! Hooks: thin adapters from a kernel attach point's arguments to the capture core. What differs between backends is
//! which functions they hang on; the user side's table of attach points names every program here.

mod fentry;
mod function;
mod go;
mod handover;
mod kprobe;
mod lifecycle;
mod process;
mod rustls;
mod tls;
mod tracepoint;
