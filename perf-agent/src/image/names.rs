//! Which of the names that matter a file defines. The names are searched for first, then the symbols that bear them:
//! both tables are read once from front to end, and nothing of them is kept.

use std::ops::ControlFlow;

use memchr::memmem;
use object::elf;

use super::Call;
use super::elf::{Elf, Fault, LE, Symbol, SymbolTable};

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// A function to probe.
    Function(Call),
    /// `gnutls_record_send`, which may end in `gnutls_record_send2`.
    GnuTlsSend,
    /// `BIO_f_ssl`, which gives the table of what a filter that speaks TLS does.
    BioFilter,
    /// Only BoringSSL has it.
    BoringSsl,
    /// A Java virtual machine.
    Java,
}

/// A defined function that bears one of the names.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub(super) meaning: Meaning,
    pub(super) address: u64,
    pub(super) size: u64,
    /// Its place in the table of dynamic symbols, if it is there.
    pub(super) dynamic_index: Option<u32>,
}

/// What there is.
#[derive(Debug, Default)]
pub(super) struct Names {
    pub(super) functions: Vec<Found>,
    /// Names of C++ code in BoringSSL's namespace.
    pub(super) bssl: bool,
    /// Names of rustls.
    pub(super) rustls: bool,
}

const NAMES: [(&str, Meaning); 24] = [
    ("SSL_read", Meaning::Function(Call::SslRead)),
    ("SSL_read_ex", Meaning::Function(Call::SslReadEx)),
    ("SSL_write", Meaning::Function(Call::SslWrite)),
    ("SSL_write_ex", Meaning::Function(Call::SslWriteEx)),
    ("SSL_sendfile", Meaning::Function(Call::SslSendfile)),
    ("SSL_do_handshake", Meaning::Function(Call::SslHandshake)),
    ("BIO_f_ssl", Meaning::BioFilter),
    ("SSL_CTX_set_early_data_enabled", Meaning::BoringSsl),
    ("SSL_early_data_accepted", Meaning::BoringSsl),
    ("gnutls_record_recv", Meaning::Function(Call::GnuTlsRecv)),
    ("gnutls_record_recv_seq", Meaning::Function(Call::GnuTlsRecv)),
    ("gnutls_record_send", Meaning::GnuTlsSend),
    ("gnutls_record_send2", Meaning::Function(Call::GnuTlsSend)),
    ("gnutls_record_uncork", Meaning::Function(Call::GnuTlsUncork)),
    ("gnutls_handshake", Meaning::Function(Call::GnuTlsHandshake)),
    ("PR_Read", Meaning::Function(Call::PrRead)),
    ("PR_Recv", Meaning::Function(Call::PrRecv)),
    ("PR_Write", Meaning::Function(Call::PrWrite)),
    ("PR_Send", Meaning::Function(Call::PrSend)),
    ("PR_Writev", Meaning::Function(Call::PrWritev)),
    ("SSL_ImportFD", Meaning::Function(Call::NssImport)),
    ("SSL_ForceHandshake", Meaning::Function(Call::NssHandshake)),
    ("JNI_CreateJavaVM", Meaning::Java),
    ("JVM_DefineClass", Meaning::Java),
];

/// Functions of rustls, by the ends of their names as both manglings have them: `_ZN…17h…E`, and `_R…`.
const RUSTLS: [(&str, Call); 6] = [
    ("17DeframerVecBuffer4read", Call::RustlsReceives),
    ("11CommonState23take_received_plaintext", Call::RustlsReceived),
    ("11CommonState16buffer_plaintext", Call::RustlsTakes),
    ("14ChunkVecBuffer8write_to", Call::RustlsSends),
    ("PlaintextSink$GT$14write_vectored", Call::RustlsTakesPieces),
    ("13PlaintextSink14write_vectored", Call::RustlsTakesPieces),
];

/// What a function of this name does, if it is one of rustls's.
fn rustls_call(name: &[u8]) -> Option<Call> {
    memmem::find(name, b"rustls")?;
    RUSTLS.iter().find_map(|(ending, call)| {
        let rest = &name[memmem::rfind(name, ending.as_bytes())? + ending.len()..];
        // A hash, the crate that it was compiled for, or nothing; else it is a longer name, or a closure inside of it.
        (rest.is_empty() || rest.starts_with(b"17h") || rest.starts_with(b"C")).then_some(*call)
    })
}

/// A name may stand in a table more than once, as a name of its own or as the end of longer ones.
const MAX_PLACES: usize = 256;
/// A function may have more than one version.
const MAX_FUNCTIONS: usize = 64;
/// Longer than each name.
const OVERLAP: usize = 512;

/// Searches all tables of symbols.
pub(super) fn find(elf: &Elf<'_>) -> Result<Names, Fault> {
    let mut found = Names::default();
    for table in elf.symbol_tables() {
        let places = places(elf, table, &mut found)?;
        if !places.is_empty() {
            functions(elf, table, &places, &mut found)?;
        }
    }
    Ok(found)
}

/// Where in the table's names each name stands.
fn places(elf: &Elf<'_>, table: SymbolTable, found: &mut Names) -> Result<Vec<(u64, Meaning)>, Fault> {
    let bssl = memmem::Finder::new("N4bssl");
    let [rustls, rustls_connections] = ["rustls", "6rustls4conn"].map(memmem::Finder::new);
    let mut ends = [false; 256];
    for (name, _) in NAMES {
        ends[usize::from(name.as_bytes()[name.len() - 1])] = true;
    }
    let mut places = Vec::new();
    elf.pieces(table.names, OVERLAP, |at, piece| {
        let has_rustls = rustls.find(piece).is_some();
        found.rustls |= has_rustls && rustls_connections.find(piece).is_some();
        let mut start = 0;
        for end in memchr::memchr_iter(0, piece) {
            let before = &piece[..end];
            let name = &piece[std::mem::replace(&mut start, end + 1)..end];
            if has_rustls
                && let Some(call) = rustls_call(name)
                && places.len() < MAX_PLACES
            {
                places.push((at + (end - name.len()) as u64, Meaning::Function(call)));
            }
            if !before.last().is_some_and(|&last| ends[usize::from(last)]) {
                continue;
            }
            for (name, meaning) in NAMES {
                if before.ends_with(name.as_bytes()) && places.len() < MAX_PLACES {
                    places.push((at + (end - name.len()) as u64, meaning));
                }
            }
        }
        found.bssl |= !found.bssl && bssl.find(piece).is_some();
        ControlFlow::Continue(())
    })?;
    places.sort_by_key(|(place, _)| *place);
    Ok(places)
}

/// The functions whose names stand at these places.
fn functions(elf: &Elf<'_>, table: SymbolTable, places: &[(u64, Meaning)], found: &mut Names) -> Result<(), Fault> {
    elf.entries::<Symbol>(table.symbols, |index, symbol| {
        let name = u64::from(symbol.st_name.get(LE));
        let Ok(place) = places.binary_search_by_key(&name, |(place, _)| *place) else {
            return ControlFlow::Continue(());
        };
        let address = symbol.st_value.get(LE);
        let meaning = places[place].1;
        let is_function = symbol.st_info.st_type() == elf::STT_FUNC && symbol.st_shndx.get(LE) != elf::SHN_UNDEF;
        let known = |found: &Names| {
            let mut known = found.functions.iter();
            known.any(|function| function.address == address && function.meaning == meaning)
        };
        if is_function && found.functions.len() < MAX_FUNCTIONS && !known(found) {
            found.functions.push(Found {
                meaning,
                address,
                size: symbol.st_size.get(LE),
                dynamic_index: u32::try_from(index).ok().filter(|_| table.dynamic),
            });
        }
        ControlFlow::Continue(())
    })
}
