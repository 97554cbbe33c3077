//! An ELF file for x86-64, read in pieces.

use std::cell::Cell;
use std::fs::File;
use std::io;
use std::ops::ControlFlow;

use object::LittleEndian;
use object::elf::{self, Dyn64, FileHeader64, ProgramHeader64, Rela64, SectionHeader64, Sym64};
use object::pod::{Pod, from_bytes};

pub(super) type Symbol = Sym64<LittleEndian>;
pub(super) type Relocation = Rela64<LittleEndian>;
pub(super) const LE: LittleEndian = LittleEndian;

/// What is read at once.
const PIECE: usize = 64 * 1024;
/// What may be read of one file in all; tables that overlap or are referred to again and again end here.
const ALLOWANCE: u64 = 512 << 20;
/// Programs have about a dozen segments and forty sections.
const MAX_SEGMENTS: u16 = 128;
const MAX_SECTIONS: u16 = 1024;
const MAX_DYNAMIC: u64 = 1024;
/// Files are mapped in whole pages.
const PAGE: u64 = 4096;

/// What can be read from any place.
pub trait ReadAt {
    /// Its length in bytes.
    ///
    /// # Errors
    /// It cannot be asked.
    fn length(&self) -> io::Result<u64>;

    /// Fills `into` with what lies at `at`.
    ///
    /// # Errors
    /// It cannot be read, or ends before.
    fn read_exact_at(&self, into: &mut [u8], at: u64) -> io::Result<()>;
}

impl ReadAt for File {
    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_exact_at(&self, into: &mut [u8], at: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(self, into, at)
    }
}

impl ReadAt for &[u8] {
    fn length(&self) -> io::Result<u64> {
        Ok(self.len() as u64)
    }

    fn read_exact_at(&self, into: &mut [u8], at: u64) -> io::Result<()> {
        let from = usize::try_from(at).ok().and_then(|at| self.get(at..));
        let from = from.and_then(|from| from.get(..into.len()));
        into.copy_from_slice(from.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// What is wrong with a file.
#[derive(Debug)]
pub(super) enum Fault {
    /// It is for another processor.
    Machine,
    /// It is no ELF file, or a broken one.
    Broken(&'static str),
    /// It cannot be read.
    Io(io::Error),
}

/// A part of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) offset: u64,
    pub(super) size: u64,
}

/// A part of the file that is mapped into memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment {
    pub(super) file: Span,
    pub(super) address: u64,
    pub(super) executable: bool,
    pub(super) writable: bool,
}

impl Segment {
    /// Where in the file this address is mapped from, if it is in this part.
    fn offset_of(&self, address: u64) -> Option<u64> {
        let into = address.checked_sub(self.address)?;
        (into < self.file.size).then(|| self.file.offset + into)
    }
}

/// A section.
#[derive(Clone, Copy, Debug)]
pub(super) struct Section {
    pub(super) kind: elf::SectionType,
    pub(super) file: Span,
    pub(super) address: u64,
    name: u32,
    link: u32,
}

/// Names and what they stand for.
#[derive(Clone, Copy, Debug)]
pub(super) struct SymbolTable {
    pub(super) symbols: Span,
    pub(super) names: Span,
    /// Those that the dynamic linker uses.
    pub(super) dynamic: bool,
}

/// A file whose headers have been read.
pub(super) struct Elf<'file> {
    file: &'file dyn ReadAt,
    length: u64,
    /// What may still be read.
    allowance: Cell<u64>,
    segments: Vec<Segment>,
    sections: Vec<Section>,
    section_names: Span,
    dynamic: Span,
}

impl<'file> Elf<'file> {
    /// Reads the headers.
    pub(super) fn read(file: &'file dyn ReadAt) -> Result<Self, Fault> {
        let length = file.length().map_err(Fault::Io)?;
        let mut elf = Self {
            file,
            length,
            allowance: Cell::new(ALLOWANCE),
            segments: Vec::new(),
            sections: Vec::new(),
            section_names: Span { offset: 0, size: 0 },
            dynamic: Span { offset: 0, size: 0 },
        };
        let header: FileHeader64<LittleEndian> = elf.one(0)?;
        if header.e_ident.magic != elf::ELFMAG {
            return Err(Fault::Broken("it does not begin like one"));
        }
        let for_us = header.e_ident.class == elf::ELFCLASS64
            && header.e_ident.data == elf::ELFDATA2LSB
            && header.e_machine.get(LE) == elf::EM_X86_64;
        if !for_us {
            return Err(Fault::Machine);
        }
        if ![elf::ET_EXEC, elf::ET_DYN].contains(&header.e_type.get(LE)) {
            return Err(Fault::Broken("it is neither a program nor a shared library"));
        }
        let (first, count) = (header.e_phoff.get(LE), header.e_phnum.get(LE));
        for at in 0..count.min(MAX_SEGMENTS) {
            let segment: ProgramHeader64<LittleEndian> = elf.nth(first, u64::from(at))?;
            let file = elf.within(segment.p_offset.get(LE), segment.p_filesz.get(LE));
            match segment.p_type.get(LE) {
                elf::PT_LOAD => elf.segments.push(Segment {
                    file,
                    address: segment.p_vaddr.get(LE),
                    executable: segment.p_flags.get(LE).contains(elf::PF_X),
                    writable: segment.p_flags.get(LE).contains(elf::PF_W),
                }),
                elf::PT_DYNAMIC => elf.dynamic = file,
                _ => {}
            }
        }
        if elf.segments.is_empty() {
            return Err(Fault::Broken("no part of it is mapped into memory"));
        }
        // Programs run without sections, and some are delivered without: what of them cannot be read is not there.
        let (first, count) = (header.e_shoff.get(LE), header.e_shnum.get(LE));
        if first != 0 {
            for at in 0..count.min(MAX_SECTIONS) {
                let Ok(section) = elf.nth::<SectionHeader64<LittleEndian>>(first, u64::from(at)) else {
                    break;
                };
                let kind = section.sh_type.get(LE);
                let size = if kind == elf::SHT_NOBITS {
                    0
                } else {
                    section.sh_size.get(LE)
                };
                elf.sections.push(Section {
                    kind,
                    file: elf.within(section.sh_offset.get(LE), size),
                    address: section.sh_addr.get(LE),
                    name: section.sh_name.get(LE),
                    link: section.sh_link.get(LE),
                });
            }
        }
        let names = elf.sections.get(usize::from(header.e_shstrndx.get(LE).0));
        elf.section_names = names.map_or(elf.section_names, |section| section.file);
        Ok(elf)
    }

    /// What is mapped.
    pub(super) fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// All sections.
    pub(super) fn sections(&self) -> &[Section] {
        &self.sections
    }

    /// The section of this name.
    pub(super) fn section(&self, name: &str) -> Option<Section> {
        let mut wanted = name.as_bytes().to_vec();
        wanted.push(0);
        let mut found = vec![0; wanted.len()];
        self.sections.iter().copied().find(|section| {
            let at = u64::from(section.name);
            self.fill(self.section_names, at, &mut found).is_ok() && found == wanted
        })
    }

    /// The tables of symbols that there are.
    pub(super) fn symbol_tables(&self) -> Vec<SymbolTable> {
        let of_kind = |kind: elf::SectionType| {
            let section = self.sections.iter().find(|section| section.kind == kind)?;
            let names = self.sections.get(usize::try_from(section.link).ok()?)?;
            Some(SymbolTable {
                symbols: section.file,
                names: names.file,
                dynamic: kind == elf::SHT_DYNSYM,
            })
        };
        let dynamic = of_kind(elf::SHT_DYNSYM).or_else(|| self.dynamic_symbols());
        dynamic.into_iter().chain(of_kind(elf::SHT_SYMTAB)).collect()
    }

    /// The addresses of symbols that the file defines, in one of the tables that are wanted; `None` unless all are there.
    pub(super) fn defined<const N: usize>(
        &self,
        names: [&str; N],
        wanted: impl Fn(&SymbolTable) -> bool,
    ) -> Option<[u64; N]> {
        let mut found = [None; N];
        let mut name = [0; 64];
        for table in self.symbol_tables().into_iter().filter(wanted) {
            let read = self.entries::<Symbol>(table.symbols, |_, symbol| {
                let at = u64::from(symbol.st_name.get(LE));
                let there = usize::try_from(table.names.size.saturating_sub(at))
                    .unwrap_or(0)
                    .min(name.len());
                if symbol.st_value.get(LE) != 0 && self.fill(table.names, at, &mut name[..there]).is_ok() {
                    let end = memchr::memchr(0, &name[..there]).unwrap_or(there);
                    if let Some(place) = names.iter().position(|wanted| wanted.as_bytes() == &name[..end]) {
                        found[place] = Some(symbol.st_value.get(LE));
                    }
                }
                if found.iter().all(Option::is_some) {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            });
            read.ok()?;
        }
        let found: Vec<u64> = found.into_iter().flatten().collect();
        found.try_into().ok()
    }

    /// The name by which the dynamic linker knows a shared library.
    pub(super) fn own_name(&self) -> Option<String> {
        let at = self.dynamic_value(elf::DT_SONAME)?;
        let names = self.dynamic_names()?;
        let mut name = vec![0; 64];
        let room = names.size.saturating_sub(at).min(64);
        name.truncate(usize::try_from(room).ok()?);
        self.fill(names, at, &mut name).ok()?;
        let end = memchr::memchr(0, &name)?;
        name.truncate(end);
        String::from_utf8(name).ok()
    }

    /// What the dynamic linker has to fill in, by the addresses of its tables: a program may have no sections.
    pub(super) fn relocations(&self) -> Vec<Span> {
        let tables = [(elf::DT_RELA, elf::DT_RELASZ), (elf::DT_JMPREL, elf::DT_PLTRELSZ)];
        let spans = tables.iter().filter_map(|&(table, size)| {
            let offset = self.offset(self.dynamic_value(table)?)?;
            Some(self.within(offset, self.dynamic_value(size)?))
        });
        spans.collect()
    }

    /// Where in the file this address is mapped from, if code is there.
    pub(super) fn code_offset(&self, address: u64) -> Option<u64> {
        self.offset_in(address, |segment| segment.executable)
    }

    /// Where in the file this address is mapped from.
    pub(super) fn offset(&self, address: u64) -> Option<u64> {
        self.offset_in(address, |_| true)
    }

    /// Is the page of the file that is mapped to this address mapped before it too, to where a program may write? Segments
    /// lie in the order of their addresses.
    pub(super) fn is_mapped_before(&self, address: u64) -> bool {
        let Some(page) = self.offset(address).map(|offset| offset / PAGE) else {
            return false;
        };
        let before = self
            .segments
            .iter()
            .take_while(|segment| segment.offset_of(address).is_none());
        before
            .filter(|segment| segment.writable && segment.file.size > 0)
            .any(|segment| {
                let Span { offset, size } = segment.file;
                (offset / PAGE..=(offset + size - 1) / PAGE).contains(&page)
            })
    }

    fn offset_in(&self, address: u64, wanted: impl Fn(&Segment) -> bool) -> Option<u64> {
        self.segments
            .iter()
            .filter(|segment| wanted(segment))
            .find_map(|segment| segment.offset_of(address))
    }

    /// The part of the file that the file really has.
    fn within(&self, offset: u64, size: u64) -> Span {
        let offset = offset.min(self.length);
        Span {
            offset,
            size: size.min(self.length - offset),
        }
    }

    /// Fills `into` with what lies at `at` of `span`.
    pub(super) fn fill(&self, span: Span, at: u64, into: &mut [u8]) -> Result<(), Fault> {
        let size = into.len() as u64;
        if at.checked_add(size).is_none_or(|end| end > span.size) {
            return Err(Fault::Broken("something in it points outside of its part"));
        }
        let left = self.allowance.get().checked_sub(size);
        self.allowance
            .set(left.ok_or(Fault::Broken("its parts are too large"))?);
        self.file.read_exact_at(into, span.offset + at).map_err(Fault::Io)
    }

    /// The part of `span` from `at` on, at most `most` bytes.
    pub(super) fn some(&self, span: Span, at: u64, most: usize) -> Result<Vec<u8>, Fault> {
        let there = usize::try_from(span.size.saturating_sub(at)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; there.min(most)];
        self.fill(span, at, &mut bytes)?;
        Ok(bytes)
    }

    /// All of `span`, at most so many bytes. Room for them is made as they come.
    pub(super) fn whole(&self, span: Span, most: u64) -> Result<Vec<u8>, Fault> {
        let span = Span {
            size: span.size.min(most),
            ..span
        };
        let mut bytes = Vec::new();
        self.pieces(span, 0, |_, piece| {
            bytes.extend_from_slice(piece);
            ControlFlow::Continue(())
        })?;
        Ok(bytes)
    }

    fn one<T: Pod>(&self, at: u64) -> Result<T, Fault> {
        let mut bytes = [0; 64];
        let bytes = &mut bytes[..size_of::<T>()];
        self.fill(self.within(0, u64::MAX), at, bytes)?;
        pod(bytes).ok_or(Fault::Broken("its headers are cut"))
    }

    fn nth<T: Pod>(&self, first: u64, index: u64) -> Result<T, Fault> {
        let at = first.checked_add(index * size_of::<T>() as u64);
        self.one(at.ok_or(Fault::Broken("its headers lie outside"))?)
    }

    /// Shows `span` in pieces, each with the place where it begins. Whatever is at most `overlap` bytes long lies whole
    /// in one of them at least.
    pub(super) fn pieces(
        &self,
        span: Span,
        overlap: usize,
        mut visit: impl FnMut(u64, &[u8]) -> ControlFlow<()>,
    ) -> Result<(), Fault> {
        let mut buffer = vec![0; PIECE.min(usize::try_from(span.size).unwrap_or(PIECE))];
        let mut at = 0;
        loop {
            let size = usize::try_from(span.size - at).unwrap_or(PIECE).min(buffer.len());
            let piece = &mut buffer[..size];
            self.fill(span, at, piece)?;
            let last = at + size as u64 == span.size;
            if visit(at, piece).is_break() || last {
                return Ok(());
            }
            at += (size - overlap) as u64;
        }
    }

    /// Shows all entries of a table, each with its index.
    pub(super) fn entries<T: Pod>(
        &self,
        table: Span,
        mut visit: impl FnMut(u64, &T) -> ControlFlow<()>,
    ) -> Result<(), Fault> {
        let entry = size_of::<T>() as u64;
        let per_piece = PIECE as u64 / entry;
        let count = table.size / entry;
        let mut buffer = vec![0; usize::try_from(count.min(per_piece) * entry).unwrap_or(0)];
        let mut index = 0;
        while index < count {
            let size = usize::try_from((count - index).min(per_piece) * entry).unwrap_or(0);
            self.fill(table, index * entry, &mut buffer[..size])?;
            let mut rest = &buffer[..size];
            while let Ok((value, after)) = from_bytes::<T>(rest) {
                if visit(index, value).is_break() {
                    return Ok(());
                }
                (rest, index) = (after, index + 1);
            }
        }
        Ok(())
    }

    fn dynamic_value(&self, tag: elf::DynamicTag) -> Option<u64> {
        let table = Span {
            size: self
                .dynamic
                .size
                .min(MAX_DYNAMIC * size_of::<Dyn64<LittleEndian>>() as u64),
            ..self.dynamic
        };
        let mut found = None;
        let read = self.entries::<Dyn64<LittleEndian>>(table, |_, entry| {
            if entry.d_tag.get(LE) == elf::DT_NULL {
                return ControlFlow::Break(());
            }
            if entry.d_tag.get(LE) == tag {
                found = Some(entry.d_val.get(LE));
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        });
        read.ok()?;
        found
    }

    fn dynamic_names(&self) -> Option<Span> {
        let offset = self.offset(self.dynamic_value(elf::DT_STRTAB)?)?;
        Some(self.within(offset, self.dynamic_value(elf::DT_STRSZ)?))
    }

    /// As the dynamic linker finds them. It needs no number of symbols; linkers put the names behind them.
    fn dynamic_symbols(&self) -> Option<SymbolTable> {
        let names = self.dynamic_names()?;
        let offset = self.offset(self.dynamic_value(elf::DT_SYMTAB)?)?;
        Some(SymbolTable {
            symbols: self.within(offset, names.offset.checked_sub(offset)?),
            names,
            dynamic: true,
        })
    }
}

fn pod<T: Pod>(bytes: &[u8]) -> Option<T> {
    from_bytes(bytes).ok().map(|(value, _)| *value)
}
