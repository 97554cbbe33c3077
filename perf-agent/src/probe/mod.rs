//! The kernel programs: what this kernel offers, which programs to load, and the loading itself.
//!
//! [`btf`] asks the kernel about its own structs and functions, [`points`] is the table of attach points, [`filters`]
//! turns the operator's selection into marks, [`rings`] makes the buffers for records, [`load`] loads one backend's
//! programs and says why another one would not, [`doctor`] tries them all. [`uprobes`] is how programs are hung on files,
//! [`counted`] how on static probes that have to be switched on.

pub mod btf;
pub(crate) mod counted;
pub mod doctor;
pub mod filters;
pub mod load;
pub mod points;
mod rings;
pub mod uprobes;

/// The BPF object, embedded at build time; empty if there was none (see `build.rs`).
pub static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("PERF_AGENT_BPF_OBJECT"));
