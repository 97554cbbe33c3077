//! Runtimes that run several tasks on a thread by turns, and their functions in which one task hands over to another.

use std::fs::File;

use super::elf::{Elf, SymbolTable};
use super::go;

/// Runtimes that run several tasks on a thread by turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runtime {
    /// Go: goroutines.
    Go,
    /// CPython: coroutines.
    Python(PythonSymbols),
}

/// What the dynamic linker knows of CPython: addresses, as the file has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PythonSymbols {
    /// `_PyRuntime`
    pub runtime: u64,
    /// `PyContext_Type`
    pub context_type: u64,
    /// Of the first part of the file that is mapped.
    pub first_address: u64,
}

impl PythonSymbols {
    /// The addresses in a process, where so much is added to them.
    #[must_use]
    pub fn at(&self, base: u64) -> Self {
        Self {
            runtime: self.runtime.wrapping_add(base),
            context_type: self.context_type.wrapping_add(base),
            first_address: self.first_address.wrapping_add(base),
        }
    }
}

/// The runtime that is in a file.
pub fn runtime(file: &File) -> Option<Runtime> {
    let elf = Elf::read(file).ok()?;
    if elf.section(".go.buildinfo").is_some() || elf.section(".gopclntab").is_some() {
        return Some(Runtime::Go);
    }
    let [runtime, context_type] = elf.defined(["_PyRuntime", "PyContext_Type"], |table| table.dynamic)?;
    let first_address = elf.segments().first()?.address;
    Some(Runtime::Python(PythonSymbols {
        runtime,
        context_type,
        first_address,
    }))
}

/// A function in which a task hands over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Handover {
    /// `func (*persistConn) roundTrip(*transportRequest) (*Response, error)` of Go's `net/http`: who asks.
    GoHttpAsks,
    /// `func (*Request) write(…) error` of the same: what the connection's own goroutine sends.
    GoHttpWrites,
    /// `PyObject *PyContext_CopyCurrent(void)`: the context of a task, a timer, or what a thread of a pool is given.
    PythonContextCopied,
    /// `UVStream._initiate_write(self)` of uvloop: what a coroutine writes.
    UvloopWrites,
    /// `UVStream._exec_write(self)` of the same: what the loop sends.
    UvloopSends,
}

/// Where in a file tasks hand over: the function, and its offset. Of what belongs together all or nothing.
pub fn handovers(file: &File) -> Vec<(Handover, u64)> {
    let Ok(elf) = Elf::read(file) else { return Vec::new() };
    if let Some(found) = go::handovers(&elf) {
        return found;
    }
    let everywhere = |_: &SymbolTable| true;
    let python = elf.defined(["PyContext_CopyCurrent"], |table| table.dynamic);
    let uvloop = elf.defined(
        [
            "__pyx_f_6uvloop_4loop_8UVStream__initiate_write",
            "__pyx_f_6uvloop_4loop_8UVStream__exec_write",
        ],
        everywhere,
    );
    let python = python.map(|[copied]| vec![(Handover::PythonContextCopied, copied)]);
    let uvloop = uvloop.map(|[writes, sends]| vec![(Handover::UvloopWrites, writes), (Handover::UvloopSends, sends)]);
    let found = python.or(uvloop).unwrap_or_default().into_iter();
    found
        .filter_map(|(function, address)| Some((function, elf.code_offset(address)?)))
        .collect()
}
