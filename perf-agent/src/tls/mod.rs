//! TLS libraries: which process speaks TLS by what, and the probes on it.
//!
//! Nothing is looked at before a handshake is seen. Then the kernel side asks, and the process's own view of the file
//! system ([`crate::maps`]) leads to the files that it runs; [`crate::image`] says what such a file offers to be probed; [`coverage`]
//! probes the file, once for all processes that map it or will, and keeps the account that the API gives; [`crate::probe::uprobes`] is
//! how programs are hung on a file. [`survey`] answers an operator who asks before anything is observed.

pub mod coverage;
pub mod survey;
