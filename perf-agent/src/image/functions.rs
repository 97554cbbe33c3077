//! All functions and static probes of a file, for an operator who names some.

use std::fs::File;
use std::ops::ControlFlow;

use super::elf::{Elf, LE, ReadAt, Symbol};
use super::go::GoFunctions;
use super::{GoAbi, NotCovered, code};

/// Bytes of names that are read; a browser's are some 100 MB.
pub(super) const NAMES: u64 = 192 << 20;
/// Bytes of notes of static probes.
const NOTES: u64 = 4 << 20;

/// Code with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code {
    /// Where it begins.
    pub address: u64,
    /// How long it is; 0 if that is not known.
    pub size: u64,
    /// It is Go's.
    pub is_go: bool,
}

/// A static probe (`.note.stapsdt`, of systemtap's `sys/sdt.h`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaticProbe {
    /// Whose: most often the program's or library's name.
    pub provider: String,
    /// Its name.
    pub name: String,
    /// Where its instruction lies: offset in the file.
    pub offset: u64,
    /// Where the counter lies that has to be raised for it to be reached: offset in the file; 0 if it has none.
    pub semaphore: u64,
    /// The counter's page of the file is mapped to another place before, to where the program may write too. The kernel raises
    /// what lies in the first such mapping that it finds (kernel/events/uprobes.c, `find_ref_ctr_vma`), until the dynamic
    /// linker makes that one read-only.
    pub in_two_mappings: bool,
}

/// A file that functions are looked for in.
pub struct Functions<'file> {
    elf: Elf<'file>,
    go: Option<GoFunctions>,
}

impl<'file> Functions<'file> {
    /// Reads what says where they are.
    ///
    /// # Errors
    /// Why nothing can be found in it.
    pub fn of(file: &'file dyn ReadAt) -> Result<Self, NotCovered> {
        let elf = Elf::read(file)?;
        let go = GoFunctions::of(&elf)?;
        Ok(Self { elf, go })
    }

    /// How Go's functions are called, if there are any.
    pub fn go_abi(&self) -> Option<GoAbi> {
        self.go.as_ref().map(GoFunctions::abi)
    }

    /// Shows every function with its symbol. One may have several.
    ///
    /// # Errors
    /// The file is broken, or cannot be read.
    pub fn each(&self, visit: &mut dyn FnMut(&str, Code)) -> Result<(), NotCovered> {
        if let Some(go) = &self.go {
            go.each(&self.elf, &mut |name, address, size| {
                let code = Code {
                    address,
                    size,
                    is_go: true,
                };
                visit(name, code);
            })?;
        }
        for table in self.elf.symbol_tables() {
            let names = self.elf.whole(table.names, NAMES)?;
            self.elf.entries::<Symbol>(table.symbols, |_, symbol| {
                let is_function = symbol.st_info.st_type() == object::elf::STT_FUNC
                    && symbol.st_shndx.get(LE) != object::elf::SHN_UNDEF;
                let address = symbol.st_value.get(LE);
                let is_go = self.go.as_ref().is_some_and(|go| go.holds(address));
                if is_function
                    && !is_go
                    && let Some(name) = text_at(&names, symbol.st_name.get(LE) as usize)
                {
                    let size = symbol.st_size.get(LE);
                    visit(name, Code { address, size, is_go });
                }
                ControlFlow::Continue(())
            })?;
        }
        Ok(())
    }

    /// Where in the file a function begins; nothing if no code is there.
    pub fn entry(&self, code: Code) -> Option<u64> {
        self.elf.code_offset(code.address)
    }

    /// The instructions by which it is left: offsets in the file. `is_inside` says of an address whether it lies inside of a
    /// function. Nothing if its code cannot be read whole.
    ///
    /// A return trap would do with less, but it puts an address of its own on the stack, on which exceptions, panics and
    /// cancelled threads come to an end, and the program with them; and Go moves stacks.
    pub fn ends(&self, code: Code, is_inside: &dyn Fn(u64) -> bool) -> Option<Vec<u64>> {
        let end = code.address.checked_add(code.size).filter(|_| code.size > 0)?;
        if code.is_go {
            return code::returns(&self.elf, code.address, end);
        }
        code::ends(&self.elf, code.address, end, is_inside)
    }

    /// Whether any function can be named: a stripped program has none.
    pub fn has_names(&self) -> bool {
        self.go.is_some() || !self.elf.symbol_tables().is_empty()
    }

    /// Every static probe.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn probes(&self) -> Result<Vec<StaticProbe>, NotCovered> {
        let Some(section) = self.elf.section(".note.stapsdt") else {
            return Ok(Vec::new());
        };
        let notes = self.elf.whole(section.file, NOTES)?;
        // What the linker moved after the notes were written shows in where this section lies now.
        let base = self.elf.section(".stapsdt.base").map(|section| section.address);
        Ok(probes(&notes, base)
            .filter_map(|probe| {
                let offset = self.elf.code_offset(probe.address)?;
                let semaphore = match probe.semaphore {
                    0 => 0,
                    address => self.elf.offset(address)?,
                };
                Some(StaticProbe {
                    provider: probe.provider.to_owned(),
                    name: probe.name.to_owned(),
                    offset,
                    semaphore,
                    in_two_mappings: self.elf.is_mapped_before(probe.semaphore),
                })
            })
            .collect())
    }
}

/// The first return instruction behind a place of a file.
pub(crate) fn first_return(file: &File, offset: u64) -> Option<u64> {
    const NEAR: usize = 64;
    let mut bytes = [0; NEAR];
    std::os::unix::fs::FileExt::read_exact_at(file, &mut bytes, offset).ok()?;
    code::first_return(&bytes).map(|at| offset + at)
}

/// The text that begins at a place and ends with a NUL.
pub(super) fn text_at(bytes: &[u8], at: usize) -> Option<&str> {
    let rest = bytes.get(at..)?;
    std::str::from_utf8(&rest[..memchr::memchr(0, rest)?]).ok()
}

/// A note of a static probe, with addresses.
#[derive(Debug, PartialEq, Eq)]
struct Note<'a> {
    address: u64,
    semaphore: u64,
    provider: &'a str,
    name: &'a str,
}

/// Reads notes one after the other: length of the owner's name, length of the contents, type 3, `stapsdt`; three addresses
/// (of the probe, of the base, of the semaphore), and provider, name and arguments as texts.
fn probes(notes: &[u8], base: Option<u64>) -> impl Iterator<Item = Note<'_>> {
    const OWNER: &[u8] = b"stapsdt\0";
    const TYPE: u32 = 3;
    let mut rest = notes;
    std::iter::from_fn(move || {
        loop {
            let word = |at: usize| Some(u32::from_le_bytes(*rest.get(at..)?.first_chunk()?));
            let (owner, contents, sort) = (word(0)?, word(4)?, word(8)?);
            let padded = |length: u32| usize::try_from(length).ok()?.checked_next_multiple_of(4);
            let from = padded(owner)?.checked_add(12)?;
            let to = from.checked_add(padded(contents)?)?;
            let (name, note) = (rest.get(12..from)?, rest.get(from..to)?);
            rest = &rest[to..];
            if sort == TYPE
                && name.starts_with(OWNER)
                && let Some(note) = note_of(note, base)
            {
                return Some(note);
            }
        }
    })
}

fn note_of(note: &[u8], base: Option<u64>) -> Option<Note<'_>> {
    let word = |index: usize| Some(u64::from_le_bytes(*note.get(8 * index..)?.first_chunk()?));
    let (address, written, semaphore) = (word(0)?, word(1)?, word(2)?);
    let moved = base.map_or(0, |base| base.wrapping_sub(written));
    let texts = note.get(24..)?;
    let provider = text_at(texts, 0)?;
    Some(Note {
        address: address.wrapping_add(moved),
        semaphore: if semaphore == 0 {
            0
        } else {
            semaphore.wrapping_add(moved)
        },
        provider,
        name: text_at(texts, provider.len() + 1)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(address: u64, semaphore: u64, texts: &[u8]) -> Vec<u8> {
        let mut contents = Vec::new();
        for word in [address, 0x1000, semaphore] {
            contents.extend(word.to_le_bytes());
        }
        contents.extend(texts);
        let mut note = Vec::new();
        for word in [8, u32::try_from(contents.len()).expect("short"), 3] {
            note.extend(word.to_le_bytes());
        }
        note.extend(b"stapsdt\0");
        note.extend(contents);
        note.resize(note.len().next_multiple_of(4), 0);
        note
    }

    #[test]
    fn notes_tell_of_static_probes() {
        let mut notes = note(0x1234, 0, b"shop\0order\08@%rdi\0");
        notes.extend(note(0x1300, 0x2000, b"shop\0paid\0\0"));
        let read = |base| -> Vec<_> {
            let all = probes(&notes, base);
            all.map(|note| (note.provider, note.name, note.address, note.semaphore))
                .collect()
        };
        assert_eq!(
            read(None),
            [("shop", "order", 0x1234, 0), ("shop", "paid", 0x1300, 0x2000)]
        );
        // The program was linked together elsewhere.
        assert_eq!(
            read(Some(0x1100)),
            [("shop", "order", 0x1334, 0), ("shop", "paid", 0x1400, 0x2100)]
        );
        for end in 0..notes.len() {
            assert!(probes(&notes[..end], None).count() < 2, "cut at {end}");
        }
    }

    /// A library of which the counter of a probe lies `into` bytes behind the beginning of its third segment, which follows
    /// the second one, of so many bytes, in the file.
    fn library(second: u64, second_flags: u32, into: u64) -> Vec<u8> {
        let words = |words: &[u64]| -> Vec<u8> { words.iter().flat_map(|word| word.to_le_bytes()).collect() };
        let third = 0x1000 + second;
        let mut bytes = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\x3e\0\x01\0\0\0".to_vec();
        bytes.extend(words(&[0, 64, 0x8000]));
        bytes.extend(b"\0\0\0\0\x40\0\x38\0\x03\0\x40\0\x03\0\x02\0");
        for (flags, offset, address, size) in [
            (5u32, 0, 0, 0x1000),
            (second_flags, 0x1000, 0x2000, second),
            (6, third, 0x4000 + third, 0x2000),
        ] {
            bytes.extend([1u32.to_le_bytes(), flags.to_le_bytes()].concat());
            bytes.extend(words(&[offset, address, address, size, size, 0x1000]));
        }
        let notes = note(0x800, 0x4000 + third + into, b"shop\0paid\0\0");
        bytes.resize(0x7000, 0);
        bytes.extend(&notes);
        bytes.resize(0x7800, 0);
        bytes.extend(b"\0.note.stapsdt\0.shstrtab\0");
        bytes.resize(0x8000 + 64, 0);
        for (name, kind, offset, size) in [(1u32, 7u32, 0x7000, notes.len() as u64), (15, 3, 0x7800, 25)] {
            bytes.extend([name.to_le_bytes(), kind.to_le_bytes()].concat());
            bytes.extend(words(&[0, 0, offset, size, 0, 4, 0]));
        }
        bytes
    }

    #[test]
    fn a_counter_in_a_page_that_is_mapped_twice_is_told_of() {
        #[track_caller]
        fn check(library: &[u8], in_two_mappings: bool) {
            let probes = Functions::of(&library)
                .expect("it is whole")
                .probes()
                .expect("it has one");
            let probe = |probe: &StaticProbe| (probe.offset, probe.in_two_mappings);
            assert_eq!(probes.iter().map(probe).collect::<Vec<_>>(), [(0x800, in_two_mappings)]);
        }
        const WRITABLE: u32 = 6;
        check(&library(0x1100, WRITABLE, 0), true);
        check(&library(0x1100, WRITABLE, 0xefe), true);
        check(&library(0x1100, WRITABLE, 0xf00), false);
        check(&library(0x1000, WRITABLE, 0), false);
        check(&library(0x1100, 4, 0), false);
        // It has no bytes of its own.
        check(&library(0, WRITABLE, 0), false);
    }

    #[test]
    fn this_program_has_the_functions_that_it_is_made_of() {
        let own = std::env::current_exe()
            .and_then(File::open)
            .expect("the test can be opened");
        let functions = Functions::of(&own).expect("an executable");
        let mut found = None;
        let each = functions.each(&mut |name, code| {
            if name.contains("this_program_has_the_functions_that_it_is_made_of") {
                found = Some(code);
            }
        });
        each.expect("its symbols can be read");
        let code = found.expect("the test itself is among them");
        assert!(!code.is_go && functions.entry(code).is_some());
    }
}
