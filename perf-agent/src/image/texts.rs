//! What a file's constant texts say: versions, and that a library is there which has no symbols.

use std::ops::{ControlFlow, RangeInclusive};

use memchr::memmem;

use super::elf::{Elf, Fault, Span};

/// A text to look for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Text {
    /// `OpenSSL 3.0.14 4 Jun 2024`, `LibreSSL 3.9.2`: from the library of cryptography, that of TLS may lack it.
    OpenSsl,
    /// A state of OpenSSL's handshake: only the library of TLS has it.
    OpenSslStates,
    /// The place of one of BoringSSL's source files for TLS.
    BoringSsl,
    /// `3.7.9`, and nothing else in the text.
    GnuTls,
    /// `Version: NSS 3.87.1`, `Version: NSPR 4.35`.
    Nss,
    /// The place of one of rustls's source files, which names its version.
    Rustls,
}

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Texts(Vec<(Text, String)>);

impl Texts {
    /// Whether it is there.
    pub(super) fn has(&self, text: Text) -> bool {
        self.0.iter().any(|(found, _)| *found == text)
    }

    /// The version that it tells.
    pub(super) fn version(&self, text: Text) -> Option<String> {
        let found = self.0.iter().find(|(found, _)| *found == text)?;
        (!found.1.is_empty()).then(|| found.1.clone())
    }
}

/// Beyond this much of constants nothing is looked for.
const MOST: u64 = 96 << 20;
/// Longer than what is looked for.
const OVERLAP: usize = 128;

/// Looks for these texts, until all are found.
pub(super) fn find(elf: &Elf<'_>, wanted: &[Text]) -> Result<Texts, Fault> {
    let mut texts = Texts::default();
    let mut searches: Vec<(Text, memmem::Finder<'_>)> = wanted
        .iter()
        .map(|&text| (text, memmem::Finder::new(&text.beginning()).into_owned()))
        .collect();
    let mut left = MOST;
    for span in constants(elf) {
        let span = Span {
            size: span.size.min(left),
            ..span
        };
        left -= span.size;
        elf.pieces(span, OVERLAP, |_, piece| {
            searches.retain(|(text, finder)| {
                for at in finder.find_iter(piece) {
                    if let Some(version) = text.read(piece, at) {
                        texts.0.push((*text, version));
                        return false;
                    }
                }
                true
            });
            if searches.is_empty() {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })?;
    }
    Ok(texts)
}

/// Where constants lie: their section, or whatever is mapped to be read only.
fn constants(elf: &Elf<'_>) -> Vec<Span> {
    if let Some(section) = elf.section(".rodata") {
        return vec![section.file];
    }
    let segments = elf.segments().iter().filter(|segment| !segment.writable);
    segments.map(|segment| segment.file).collect()
}

impl Text {
    /// What it begins with. What tells a library by itself is put together here, or this program would tell of it too.
    fn beginning(self) -> Vec<u8> {
        let [end, begin]: [&[u8]; 2] = match self {
            Self::OpenSsl => [b"", b"SSL "],
            Self::OpenSslStates => [b"client hello\0", b"SSLv3/TLS read "],
            Self::BoringSsl => [b"lib.cc\0", b"/ssl/ssl_"],
            Self::GnuTls => [b"", b"\x003."],
            Self::Nss => [b"", b"Version: NS"],
            Self::Rustls => [b"", b"/rustls-"],
        };
        [begin, end].concat()
    }

    /// The version that it tells at `at`, where it begins: empty if it tells none. Nothing if it is another text.
    fn read(self, piece: &[u8], at: usize) -> Option<String> {
        let after = &piece[at + self.beginning().len()..];
        match self {
            Self::OpenSslStates | Self::BoringSsl => Some(String::new()),
            Self::OpenSsl => {
                let libre = piece[..at].ends_with(b"Libre");
                if !libre && !piece[..at].ends_with(b"Open") {
                    return None;
                }
                let (version, rest) = version(after, 2..=3)?;
                // Else it is a remark about some version.
                (libre || is_date(rest)).then_some(version)
            }
            Self::GnuTls => {
                let (version, rest) = version(&piece[at + 1..], 3..=3)?;
                (rest.first() == Some(&0)).then_some(version)
            }
            Self::Nss => {
                let space = memchr::memchr(b' ', after.get(..8)?)?;
                Some(version(&after[space + 1..], 2..=4)?.0)
            }
            Self::Rustls => {
                let (version, rest) = version(after, 3..=3)?;
                rest.starts_with(b"/src/").then_some(version)
            }
        }
    }
}

/// A version of so many numbers, with what follows a letter or a dash in it, and what stands behind it.
fn version(text: &[u8], numbers: RangeInclusive<usize>) -> Option<(String, &[u8])> {
    let of_version = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'+');
    let end = text.iter().take(32).position(|byte| !of_version(byte))?;
    let version = std::str::from_utf8(&text[..end]).ok()?;
    let main = version.split(['-', '+']).next()?;
    let parts = main.split('.');
    let all_numbers = parts.clone().all(|part| part.starts_with(|c: char| c.is_ascii_digit()));
    (all_numbers && numbers.contains(&parts.count())).then(|| (version.to_owned(), &text[end..]))
}

/// ` 4 Jun 2024`.
fn is_date(text: &[u8]) -> bool {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let text = String::from_utf8_lossy(&text[..text.len().min(16)]);
    let mut words = text.split_ascii_whitespace();
    let day = words.next().is_some_and(|day| day.parse::<u8>().is_ok());
    day && words.next().is_some_and(|month| MONTHS.contains(&month))
}
