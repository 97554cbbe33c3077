//! Programs and libraries: any file is read without panic, in small pieces, and not for ever.
#![no_main]

use std::cell::Cell;
use std::io;

use libfuzzer_sys::fuzz_target;
use perf_agent::image::functions::Functions;
use perf_agent::image::{ReadAt, inspect_source};

/// What each file for this processor begins with.
const BEGINNING: [u8; 20] = *b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\x3e\0";

/// A file, of zeros where it has no bytes.
struct Input<'a> {
    bytes: &'a [u8],
    length: u64,
    left: Cell<u64>,
}

impl ReadAt for Input<'_> {
    fn length(&self) -> io::Result<u64> {
        Ok(self.length)
    }

    fn read_exact_at(&self, into: &mut [u8], at: u64) -> io::Result<()> {
        assert!(into.len() <= 256 * 1024);
        // Less than what is allowed: the rest would only be slow.
        let left = self.left.get().checked_sub(into.len() as u64);
        self.left.set(left.ok_or(io::ErrorKind::UnexpectedEof)?);
        for (byte, at) in into.iter_mut().zip(at..) {
            let at = usize::try_from(at).unwrap_or(usize::MAX);
            *byte = *BEGINNING.get(at).or_else(|| self.bytes.get(at)).unwrap_or(&0);
        }
        Ok(())
    }
}

fuzz_target!(|input: (u8, &[u8])| {
    let (more, bytes) = input;
    let length = (bytes.len() as u64) << (more % 24);
    let left = Cell::new(8 << 20);
    let mut input = Input { bytes, length, left };
    drop(inspect_source(&input));
    input.left = Cell::new(8 << 20);
    if let Ok(functions) = Functions::of(&input) {
        let _broken = functions.each(&mut |_, code| {
            functions.ends(code, &|_| false);
        });
        let _broken = functions.probes();
    }
});
