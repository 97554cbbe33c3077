//! Libraries that are found by the names of their functions: what those with a C interface export, or what a program with
//! symbols has of them.

use super::elf::{Elf, Fault};
use super::names::{Found, Meaning, Names};
use super::texts::{self, Text};
use super::{Call, Function, Image, Library, NotCovered, Returns, code, looks_like_tls_library};

/// What of them can be probed.
pub(super) fn images(elf: &Elf<'_>, names: &Names) -> Result<Vec<Image>, Fault> {
    let own_name = elf.own_name();
    let static_linked = !own_name.as_deref().is_some_and(looks_like_tls_library);
    let boring = names.bssl || names.functions.iter().any(|found| found.meaning == Meaning::BoringSsl);
    let libraries = [
        if boring { Library::BoringSsl } else { Library::OpenSsl },
        Library::GnuTls,
        Library::Nss,
        Library::Rustls,
    ];
    let mut images = Vec::new();
    for library in libraries {
        let mut functions: Vec<Function> = names
            .functions
            .iter()
            .filter_map(|found| {
                let call = call(elf, names, found)?;
                (library_of(call, boring) == Some(library)).then_some(())?;
                Some(Function {
                    call,
                    entry: elf.code_offset(found.address)?,
                    returns: match call {
                        Call::RustlsReceives | Call::RustlsReceived | Call::RustlsTakesPieces => Returns::Unseen,
                        _ => Returns::Trap,
                    },
                })
            })
            .collect();
        if library == Library::OpenSsl {
            functions.extend(filter_functions(elf, names));
        }
        functions.sort_by_key(|function| (function.call, function.entry));
        functions.dedup();
        // A handshake alone shows nothing.
        let shown = if library == Library::Rustls {
            is_whole(&functions)
        } else {
            functions.iter().any(|function| tells(function.call))
        };
        if shown {
            images.push(Image {
                library,
                version: version(elf, library, own_name.as_deref())?,
                functions,
                static_linked,
                go_abi: None,
            });
        }
    }
    Ok(images)
}

/// Why nothing was found.
pub(super) fn why_nothing(elf: &Elf<'_>, names: &Names) -> Result<NotCovered, Fault> {
    if names.functions.iter().any(|found| found.meaning == Meaning::Java) {
        return Ok(NotCovered::Java);
    }
    let all = not_covered(elf, names, &[])?;
    Ok(all.into_iter().next().unwrap_or(NotCovered::NoTls))
}

/// What is there and cannot be probed, beside what can. (A program may be made of parts that each bring their own.)
pub(super) fn not_covered(elf: &Elf<'_>, names: &Names, covered: &[Image]) -> Result<Vec<NotCovered>, Fault> {
    let texts = texts::find(
        elf,
        &[Text::OpenSsl, Text::OpenSslStates, Text::BoringSsl, Text::Rustls],
    )?;
    let is_covered = |library| covered.iter().any(|image| image.library == library);
    let stripped = |library, version| NotCovered::Stripped { library, version };
    let mut all = Vec::new();
    if is_covered(Library::BoringSsl) || is_covered(Library::OpenSsl) {
        // The functions of both have the same names.
    } else if texts.has(Text::BoringSsl) {
        all.push(stripped(Library::BoringSsl, None));
    } else if texts.has(Text::OpenSslStates) {
        all.push(stripped(Library::OpenSsl, texts.version(Text::OpenSsl)));
    }
    if !is_covered(Library::Rustls) && (names.rustls || texts.has(Text::Rustls)) {
        all.push(NotCovered::Rustls {
            version: texts.version(Text::Rustls),
        });
    }
    Ok(all)
}

fn library_of(call: Call, boring: bool) -> Option<Library> {
    Some(match call {
        Call::SslRead
        | Call::SslReadEx
        | Call::SslWrite
        | Call::SslWriteEx
        | Call::SslSendfile
        | Call::SslHandshake => {
            if boring {
                Library::BoringSsl
            } else {
                Library::OpenSsl
            }
        }
        Call::GnuTlsRecv | Call::GnuTlsSend | Call::GnuTlsUncork | Call::GnuTlsHandshake => Library::GnuTls,
        Call::PrRead
        | Call::PrRecv
        | Call::PrWrite
        | Call::PrSend
        | Call::PrWritev
        | Call::NssImport
        | Call::NssHandshake => Library::Nss,
        Call::RustlsReceives
        | Call::RustlsReceived
        | Call::RustlsTakes
        | Call::RustlsTakesPieces
        | Call::RustlsSends => Library::Rustls,
        Call::GoRead | Call::GoWrite | Call::GoHandshake => return None,
    })
}

/// What OpenSSL's filter reads and writes by, since 1.1.1 (`ssl/bio_ssl.c`): two functions without a name, by their
/// places in the table (`struct bio_method_st`) that `BIO_f_ssl` gives. They are what `SSL_read_ex` and `SSL_write_ex`
/// are but for their first argument, and do not call those. Two places stand empty between them; elsewhere they hold the
/// filter's functions of another kind, which call `SSL_read` and `SSL_write`.
fn filter_functions(elf: &Elf<'_>, names: &Names) -> Vec<Function> {
    const WRITE: u64 = 16;
    let table = names
        .functions
        .iter()
        .find(|found| found.meaning == Meaning::BioFilter)
        .and_then(|found| code::returned_address(elf, found));
    let Some(write) = table.and_then(|table| table.checked_add(WRITE)) else {
        return Vec::new();
    };
    let slots = [0, 8, 16, 24].map(|slot| write.saturating_add(slot));
    let [Some(write), None, Some(read), None] = code::pointers(elf, slots) else {
        return Vec::new();
    };
    [(Call::SslWriteEx, write), (Call::SslReadEx, read)]
        .into_iter()
        .filter_map(|(call, address)| {
            Some(Function {
                call,
                entry: elf.code_offset(address)?,
                returns: Returns::Trap,
            })
        })
        .collect()
}

/// Whether the functions of rustls are there without which it could not be told what belongs together. (Without the one that
/// is given pieces, only the first one of some can be read.)
fn is_whole(functions: &[Function]) -> bool {
    let has = |call| functions.iter().any(|function| function.call == call);
    has(Call::RustlsReceives) && has(Call::RustlsReceived) && has(Call::RustlsTakes) && has(Call::RustlsSends)
}

/// Whether it carries bytes, or says which descriptors do.
fn tells(call: Call) -> bool {
    !matches!(
        call,
        Call::SslHandshake | Call::GnuTlsHandshake | Call::GnuTlsUncork | Call::NssHandshake
    )
}

/// What to do with this function.
fn call(elf: &Elf<'_>, names: &Names, found: &Found) -> Option<Call> {
    match found.meaning {
        Meaning::Function(call) => Some(call),
        // Since GnuTLS 3.6.3 it is a jump to `gnutls_record_send2`, and both would be the same bytes twice. Whether the
        // jump was made or the whole function put in its place, only the code tells.
        Meaning::GnuTlsSend => {
            let mut others = names.functions.iter();
            let ends_in_other = others
                .any(|other| other.meaning == Meaning::Function(Call::GnuTlsSend) && code::leads_to(elf, found, other));
            (!ends_in_other).then_some(Call::GnuTlsSend)
        }
        Meaning::BioFilter | Meaning::BoringSsl | Meaning::Java => None,
    }
}

fn version(elf: &Elf<'_>, library: Library, own_name: Option<&str>) -> Result<Option<String>, Fault> {
    let text = match library {
        Library::OpenSsl => Text::OpenSsl,
        Library::Nss => Text::Nss,
        Library::GnuTls if own_name.is_some() => Text::GnuTls,
        Library::Rustls => Text::Rustls,
        Library::GnuTls | Library::BoringSsl | Library::GoTls => return Ok(None),
    };
    let texts = texts::find(elf, &[text])?;
    let numbered = || Some(own_name?.split_once(".so.")?.1.to_owned());
    // The number of a GnuTLS library is that of its interface, and no version.
    Ok(texts
        .version(text)
        .or_else(|| numbered().filter(|_| library == Library::OpenSsl)))
}
