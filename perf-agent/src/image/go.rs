//! Go's `crypto/tls`, found through the table of functions that each Go program carries for its own stack traces, also
//! when it is stripped.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use memchr::memmem;
use object::{LittleEndian, U32, U64};

use super::elf::{Elf, Fault, LE, Relocation, Span};
use super::functions::{NAMES, text_at};
use super::{Call, Function, GoAbi, Handover, Image, Library, NotCovered, Returns, code};

/// `crypto/tls` in a Go program, if it is there.
pub(super) fn image(elf: &Elf<'_>) -> Result<Option<Image>, NotCovered> {
    let Some(span) = table_span(elf)? else {
        return Ok(None);
    };
    let Some(table) = Table::read(elf, span)? else {
        return Ok(None);
    };
    let names = table.names(elf, TYPE, &Method::ALL)?;
    if !names.values().any(|method| method.call() != Call::GoHandshake) {
        return Ok(None);
    }
    let version = version(elf);
    let abi = abi(version.as_deref(), table.layout);
    let abi = abi.ok_or(NotCovered::Go("its version of Go is not known"))?;
    let methods = table.functions(elf, &names)?;
    let base = table.base_of(elf)?;
    let mut functions = Vec::new();
    for (method, range) in &methods {
        if *method == Method::Handshake && methods.contains_key(&Method::HandshakeContext) {
            continue;
        }
        let (from, to) = (base.wrapping_add(range.from), base.wrapping_add(range.to));
        // A wrong place would show as code that is none, or as none at all.
        let function = elf.code_offset(from).zip(code::returns(elf, from, to));
        let (entry, returns) = function.ok_or(NotCovered::Go("its code does not lie where its table says"))?;
        functions.push(Function {
            call: method.call(),
            entry,
            returns: Returns::At(returns),
        });
    }
    functions.sort_by_key(|function| function.call);
    Ok(Some(Image {
        library: Library::GoTls,
        version,
        functions,
        static_linked: true,
        go_abi: Some(abi),
    }))
}

/// Where goroutines hand over requests of `net/http`, if the program has it and passes arguments in registers.
pub(super) fn handovers(elf: &Elf<'_>) -> Option<Vec<(Handover, u64)>> {
    const HTTP: &[u8] = b"\0net/http.(*";
    const FUNCTIONS: [(&[u8], Handover); 2] = [
        (b"persistConn).roundTrip\0", Handover::GoHttpAsks),
        (b"Request).write\0", Handover::GoHttpWrites),
    ];
    let table = Table::read(elf, table_span(elf).ok()??).ok()??;
    if abi(version(elf).as_deref(), table.layout) != Some(GoAbi::Register) {
        return None;
    }
    let names = table.names(elf, HTTP, &FUNCTIONS).ok()?;
    let functions = table.functions(elf, &names).ok()?;
    let base = table.base_of(elf).ok()?;
    let found: Vec<_> = functions
        .into_iter()
        .filter_map(|(function, range)| Some((function, elf.code_offset(base.wrapping_add(range.from))?)))
        .collect();
    (found.len() == FUNCTIONS.len()).then_some(found)
}

/// All functions of a Go program.
pub(super) struct GoFunctions {
    table: Table,
    /// What places in the code are counted from.
    base: u64,
    /// Where the code ends.
    end: u64,
    abi: GoAbi,
}

impl GoFunctions {
    /// `None` if it is no Go program.
    pub(super) fn of(elf: &Elf<'_>) -> Result<Option<Self>, NotCovered> {
        let Some(span) = table_span(elf)? else {
            return Ok(None);
        };
        let Some(table) = Table::read(elf, span)? else {
            return Ok(None);
        };
        let abi = abi(version(elf).as_deref(), table.layout);
        let abi = abi.ok_or(NotCovered::Go("its version of Go is not known"))?;
        let base = table.base_of(elf)?;
        let end = base.wrapping_add(table.place(elf, table.count)?);
        Ok(Some(Self { table, base, end, abi }))
    }

    pub(super) fn abi(&self) -> GoAbi {
        self.abi
    }

    /// Whether it is Go's code that lies there.
    pub(super) fn holds(&self, address: u64) -> bool {
        (self.base..self.end).contains(&address)
    }

    /// Shows each function with its name, its address and its length.
    pub(super) fn each(&self, elf: &Elf<'_>, visit: &mut dyn FnMut(&str, u64, u64)) -> Result<(), NotCovered> {
        let names = elf.whole(self.table.names, NAMES)?;
        let mut open: Option<(u32, u64)> = None;
        let mut show = |open: Option<(u32, u64)>, to: u64| {
            if let Some((name, from)) = open
                && let Some(name) = text_at(&names, name as usize)
            {
                visit(name, self.base.wrapping_add(from), to.saturating_sub(from));
            }
        };
        self.table.walk(elf, &mut |from, name| {
            show(open.replace((name, from)), from);
            ControlFlow::Continue(())
        })?;
        show(open, self.table.place(elf, self.table.count)?);
        Ok(())
    }
}

/// What the table is called before all methods of a connection.
const TYPE: &[u8] = b"\0crypto/tls.(*Conn).";

/// Methods of `crypto/tls.(*Conn)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Method {
    Read,
    Write,
    /// Go 1.17 and later: what `Handshake` and `HandshakeContext` come to, which may be inlined.
    HandshakeContext,
    Handshake,
}

impl Method {
    const ALL: [(&'static [u8], Self); 4] = [
        (b"Read\0", Self::Read),
        (b"Write\0", Self::Write),
        (b"handshakeContext\0", Self::HandshakeContext),
        (b"Handshake\0", Self::Handshake),
    ];

    fn call(self) -> Call {
        match self {
            Self::Read => Call::GoRead,
            Self::Write => Call::GoWrite,
            Self::HandshakeContext | Self::Handshake => Call::GoHandshake,
        }
    }
}

/// Layouts of the table, by the version of Go that began with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    /// 1.2 to 1.15.
    V2,
    /// 1.16 and 1.17.
    V16,
    /// 1.18 and 1.19.
    V18,
    /// 1.20 and later. The header's start of the code is 0 in some of them (seen: 1.27).
    V20,
}

impl Layout {
    fn of(magic: u32) -> Option<Self> {
        Some(match magic {
            0xffff_fffb => Self::V2,
            0xffff_fffa => Self::V16,
            0xffff_fff0 => Self::V18,
            0xffff_fff1 => Self::V20,
            _ => return None,
        })
    }

    /// Whether places in the code are 4 bytes, counted from its start, and not 8 bytes of an address.
    fn is_relative(self) -> bool {
        matches!(self, Self::V18 | Self::V20)
    }
}

/// Where the code of a function is, as the table counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    from: u64,
    to: u64,
}

/// The table's header.
#[derive(Clone, Copy, Debug)]
struct Table {
    layout: Layout,
    /// Start of the code, or 0.
    text: u64,
    count: u64,
    /// Names, which are known by their offset in here.
    names: Span,
    /// The functions in the order of their code, and behind them the end of the code. What more there is to a function
    /// lies at an offset in here.
    functions: Span,
}

/// What stands behind the magic number: no bytes of meaning, instructions of any length, pointers of 8 bytes.
const AFTER_MAGIC: [u8; 4] = [0, 0, 1, 8];
/// More functions than any program has.
const MAX_FUNCTIONS: u64 = 4 << 20;

impl Table {
    /// Nothing if it is none, or of a layout that is not known.
    fn read(elf: &Elf<'_>, span: Span) -> Result<Option<Self>, Fault> {
        let mut magic = [0; 8];
        if elf.fill(span, 0, &mut magic).is_err() {
            return Ok(None);
        }
        let (magic, after) = magic.split_at(4);
        let layout = magic
            .try_into()
            .ok()
            .and_then(|magic| Layout::of(u32::from_le_bytes(magic)));
        let Some(layout) = layout.filter(|_| after == AFTER_MAGIC) else {
            return Ok(None);
        };
        let word = |index: u64| -> Result<u64, Fault> {
            let mut bytes = [0; 8];
            elf.fill(span, 8 + 8 * index, &mut bytes)?;
            Ok(u64::from_le_bytes(bytes))
        };
        let from = |at: u64| Span {
            offset: span.offset + at.min(span.size),
            size: span.size - at.min(span.size),
        };
        let (text, names, functions) = match layout {
            Layout::V2 => (0, span, from(16)),
            Layout::V16 => (0, between(from(word(2)?), from(word(3)?)), from(word(6)?)),
            Layout::V18 | Layout::V20 => (word(2)?, between(from(word(3)?), from(word(4)?)), from(word(7)?)),
        };
        let table = Self {
            layout,
            text,
            count: word(0)?,
            names,
            functions,
        };
        let fits = (1..=MAX_FUNCTIONS).contains(&table.count) && table.count * table.entry() < functions.size;
        Ok(fits.then_some(table))
    }

    /// Bytes of a place in the code.
    fn word(&self) -> u64 {
        if self.layout.is_relative() { 4 } else { 8 }
    }

    /// Bytes of an entry: the place of a function's code, and where more is told about it.
    fn entry(&self) -> u64 {
        2 * self.word()
    }

    /// The methods that the program has, by the offset of their names, which begin in the same way.
    fn names<M: Copy>(&self, elf: &Elf<'_>, begin: &[u8], methods: &[(&[u8], M)]) -> Result<BTreeMap<u64, M>, Fault> {
        const OVERLAP: usize = 64;
        let mut found = BTreeMap::new();
        let finder = memmem::Finder::new(begin);
        elf.pieces(self.names, OVERLAP, |at, piece| {
            for place in finder.find_iter(piece) {
                let rest = &piece[place + begin.len()..];
                let method = methods.iter().find(|(name, _)| rest.starts_with(name));
                if let Some((_, method)) = method
                    && found.len() < methods.len()
                {
                    found.insert(at + place as u64 + 1, *method);
                }
            }
            ControlFlow::Continue(())
        })?;
        Ok(found)
    }

    /// Where the code of those with these names is.
    fn functions<M: Copy + Ord>(&self, elf: &Elf<'_>, names: &BTreeMap<u64, M>) -> Result<BTreeMap<M, Range>, Fault> {
        let mut found = BTreeMap::new();
        let mut open: Option<(M, u64)> = None;
        self.walk(elf, &mut |from, name| {
            if let Some((method, begin)) = open.take() {
                found.insert(method, Range { from: begin, to: from });
            }
            open = names.get(&u64::from(name)).map(|method| (*method, from));
            if found.len() == names.len() {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })?;
        if let Some((method, from)) = open {
            let to = self.place(elf, self.count)?;
            found.insert(method, Range { from, to });
        }
        Ok(found)
    }

    /// Shows where each function's code begins, and at which offset its name stands, in the order of the code.
    fn walk(&self, elf: &Elf<'_>, show: &mut dyn FnMut(u64, u32) -> ControlFlow<()>) -> Result<(), Fault> {
        let mut details = Details {
            elf,
            // In the oldest layout offsets count from the table's own start.
            span: if self.layout == Layout::V2 {
                self.names
            } else {
                self.functions
            },
            at: 0,
            bytes: Vec::new(),
        };
        let mut fault = None;
        let mut visit = |from: u64, detail: u64| match details.name(detail.saturating_add(self.word())) {
            Ok(name) => show(from, name),
            Err(what) => {
                fault = Some(what);
                ControlFlow::Break(())
            }
        };
        let entries = Span {
            size: self.count * self.entry(),
            ..self.functions
        };
        if self.layout.is_relative() {
            elf.entries::<[U32<LittleEndian>; 2]>(entries, |_, [from, detail]| {
                visit(u64::from(from.get(LE)), u64::from(detail.get(LE)))
            })?;
        } else {
            elf.entries::<[U64<LittleEndian>; 2]>(entries, |_, [from, detail]| visit(from.get(LE), detail.get(LE)))?;
        }
        fault.map_or(Ok(()), Err)
    }

    /// The address that places are counted from, or why it is not known.
    fn base_of(&self, elf: &Elf<'_>) -> Result<u64, NotCovered> {
        if !self.layout.is_relative() {
            return Ok(0);
        }
        self.base(elf)?
            .ok_or(NotCovered::Go("nothing tells where its code begins"))
    }

    /// Where the code of the nth function begins; behind the last, where it ends.
    fn place(&self, elf: &Elf<'_>, index: u64) -> Result<u64, Fault> {
        let mut bytes = [0; 8];
        let word = usize::from(self.layout.is_relative()) * 4;
        elf.fill(self.functions, index * self.entry(), &mut bytes[word..])?;
        Ok(u64::from_le_bytes(bytes) >> (8 * word))
    }

    /// The address that places are counted from.
    ///
    /// It is neither always in the header nor always that of the section of code, which begins with other code where a C
    /// linker put C code in. But the runtime has it, beside the table's own address, as the addresses of the first
    /// function and of the end of the last (and refuses to start if they do not fit the table): two words of which the
    /// difference is known. In programs that are loaded anywhere they stand in the relocations.
    fn base(&self, elf: &Elf<'_>) -> Result<Option<u64>, Fault> {
        if self.text != 0 && elf.code_offset(self.text).is_some() {
            return Ok(Some(self.text));
        }
        let (first, end) = (self.place(elf, 0)?, self.place(elf, self.count)?);
        let Some(length) = end.checked_sub(first).filter(|length| *length > 0) else {
            return Ok(None);
        };
        let fits = |from: u64, to: u64| {
            let there = to.checked_sub(from) == Some(length) && elf.code_offset(from).is_some();
            there.then(|| from.wrapping_sub(first))
        };
        let mut base = None;
        for segment in elf.segments().iter().filter(|segment| segment.writable) {
            let mut before = 0;
            elf.entries::<[U64<LittleEndian>; 1]>(segment.file, |_, [word]| {
                base = fits(before, word.get(LE));
                before = word.get(LE);
                until(base)
            })?;
            if base.is_some() {
                return Ok(base);
            }
        }
        for table in elf.relocations() {
            let mut before = (0, 0);
            elf.entries::<Relocation>(table, |_, relocation| {
                let (place, target) = (relocation.r_offset.get(LE), relocation.r_addend.get(LE).cast_unsigned());
                if place.wrapping_sub(before.0) == 8 {
                    base = fits(before.1, target);
                }
                before = (place, target);
                until(base)
            })?;
            if base.is_some() {
                break;
            }
        }
        Ok(base)
    }
}

fn until(found: Option<u64>) -> ControlFlow<()> {
    if found.is_some() {
        ControlFlow::Break(())
    } else {
        ControlFlow::Continue(())
    }
}

/// The part from one place to another.
fn between(from: Span, to: Span) -> Span {
    Span {
        size: to.offset.saturating_sub(from.offset),
        ..from
    }
}

/// What is told about each function. It stands in the order of the functions, so that reading ahead is worth it.
struct Details<'elf, 'file> {
    elf: &'elf Elf<'file>,
    span: Span,
    at: u64,
    bytes: Vec<u8>,
}

impl Details<'_, '_> {
    /// The offset of a function's name, which stands here.
    fn name(&mut self, at: u64) -> Result<u32, Fault> {
        const AHEAD: usize = 64 * 1024;
        if let Some(name) = self.read(at) {
            return Ok(name);
        }
        self.bytes = self.elf.some(self.span, at, AHEAD)?;
        self.at = at;
        self.read(at).ok_or(Fault::Broken("its table of functions is cut"))
    }

    fn read(&self, at: u64) -> Option<u32> {
        let into = usize::try_from(at.checked_sub(self.at)?).ok()?;
        let bytes = self.bytes.get(into..)?.first_chunk()?;
        Some(u32::from_le_bytes(*bytes))
    }
}

/// Where the table is. Its section has a name also in stripped programs; but the C linker puts it among other data in
/// programs that are loaded anywhere (before Go 1.27), and a program may have no sections: then its first bytes are
/// searched for.
fn table_span(elf: &Elf<'_>) -> Result<Option<Span>, Fault> {
    if let Some(section) = elf
        .section(".gopclntab")
        .or_else(|| elf.section(".data.rel.ro.gopclntab"))
    {
        return Ok(Some(section.file));
    }
    let marked = || elf.section(".go.buildinfo").is_some() || elf.section(".note.go.buildid").is_some();
    if !elf.sections().is_empty() && !marked() {
        return Ok(None);
    }
    let finder = memmem::Finder::new(b"\xff\xff\xff\x00\x00\x01\x08");
    let mut found = None;
    for segment in elf.segments().iter().filter(|segment| !segment.executable) {
        elf.pieces(segment.file, 16, |at, piece| {
            for place in finder.find_iter(piece) {
                let begin = (at + place as u64).wrapping_sub(1);
                let span = Span {
                    offset: segment.file.offset.saturating_add(begin),
                    size: segment.file.size.saturating_sub(begin),
                };
                if begin.is_multiple_of(8) && matches!(Table::read(elf, span), Ok(Some(_))) {
                    found = Some(span);
                    return ControlFlow::Break(());
                }
            }
            ControlFlow::Continue(())
        })?;
        if found.is_some() {
            break;
        }
    }
    Ok(found)
}

/// What the build wrote down about itself: somewhere in what is writable, if no section has its name.
fn version(elf: &Elf<'_>) -> Option<String> {
    const MAGIC: &[u8] = b"\xff Go buildinf:";
    const MOST: usize = 256;
    let finder = memmem::Finder::new(MAGIC);
    let section = elf.section(".go.buildinfo").map(|section| section.file);
    let segments = elf.segments().iter().filter(|segment| segment.writable);
    for span in section.into_iter().chain(segments.map(|segment| segment.file)) {
        let mut place = None;
        let read = elf.pieces(span, MAGIC.len(), |at, piece| {
            place = finder.find(piece).map(|found| at + found as u64);
            until(place)
        });
        let Some(place) = place.filter(|_| read.is_ok()) else {
            continue;
        };
        let info = elf.some(span, place, MOST).ok()?;
        // Since Go 1.18 the version follows, before that there is a pointer to a pointer and a length.
        return if info.get(15)? & 2 != 0 {
            let length = usize::from(*info.get(32)?);
            plausible(info.get(33..)?.get(..length)?)
        } else {
            let word = |bytes: &[u8]| Some(u64::from_le_bytes(*bytes.first_chunk()?));
            let at = |address: u64, size: usize| {
                let offset = elf.offset(address)?;
                elf.some(
                    Span {
                        offset,
                        size: size as u64,
                    },
                    0,
                    size,
                )
                .ok()
            };
            let text = at(word(info.get(16..)?)?, 16)?;
            let length = usize::try_from(word(&text[8..])?).ok().filter(|length| *length < 128)?;
            plausible(&at(word(&text)?, length)?)
        };
    }
    None
}

/// A version of Go that may be shown.
fn plausible(text: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(text).ok()?;
    let good = text.len() < 128 && text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
    (good && (text.starts_with("go") || text.starts_with("devel"))).then(|| text.to_owned())
}

/// How functions are called.
fn abi(version: Option<&str>, layout: Layout) -> Option<GoAbi> {
    // `go1.17.3 X:noregabi`: the experiments that it was built with.
    if version.is_some_and(|version| version.contains("noregabi")) {
        return Some(GoAbi::Stack);
    }
    match layout {
        Layout::V2 => Some(GoAbi::Stack),
        Layout::V18 | Layout::V20 => Some(GoAbi::Register),
        Layout::V16 => {
            let minor = version?.split("go1.").nth(1)?;
            let minor = minor.split(|c: char| !c.is_ascii_digit()).next()?;
            let minor: u32 = minor.parse().ok()?;
            Some(if minor >= 17 { GoAbi::Register } else { GoAbi::Stack })
        }
    }
}
