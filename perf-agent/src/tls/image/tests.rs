//! What is found in real files, and that nothing found in broken ones hurts.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use proptest::prelude::*;

use super::*;

/// Says what is missing of the machine; in CI that is a failure.
fn skip(what: &str) {
    let set = |name: &str, value: &str| std::env::var(name).is_ok_and(|found| found == value);
    assert!(
        !set("CI", "true") && !set("PERF_TEST_STRICT", "1"),
        "needed and missing: {what}"
    );
    eprintln!("skipped: {what}");
}

/// A file of the machine.
fn on_machine(name: &str) -> Option<PathBuf> {
    const FOLDERS: [&str; 4] = ["/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib", "/usr/bin"];
    let found = FOLDERS
        .iter()
        .map(|folder| Path::new(folder).join(name))
        .find(|path| path.is_file());
    if found.is_none() {
        skip(name);
    }
    found
}

/// A program whose output is the truth.
fn output(program: &str, arguments: &[&str], file: &Path) -> Option<String> {
    let Ok(output) = Command::new(program).args(arguments).arg(file).output() else {
        skip(program);
        return None;
    };
    assert!(output.status.success(), "{program} failed");
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn look(path: &Path) -> Result<Vec<Image>, NotCovered> {
    inspect(&File::open(path).expect("it can be read"))
}

#[track_caller]
fn one(path: &Path) -> Image {
    let mut images = look(path).expect("something is found");
    assert_eq!(images.len(), 1, "{images:?}");
    images.remove(0)
}

/// `nm`'s addresses of these functions, as offsets in the file by `readelf`'s segments.
fn truth(path: &Path, names: &[&str]) -> Option<Vec<u64>> {
    let number = |text: &str| u64::from_str_radix(text.trim_start_matches("0x"), 16).ok();
    let segments = output("readelf", &["-lW"], path)?;
    let segments: Vec<[u64; 3]> = segments
        .lines()
        .filter_map(|line| {
            let mut words = line.trim().strip_prefix("LOAD")?.split_whitespace();
            let (offset, address, _) = (number(words.next()?)?, number(words.next()?)?, words.next()?);
            Some([offset, address, number(words.next()?)?])
        })
        .collect();
    let symbols = output("nm", &["-D", "--defined-only", "--without-symbol-versions"], path)?;
    let addresses = names.iter().map(|name| {
        let line = symbols
            .lines()
            .find(|line| line.split_whitespace().nth(2) == Some(name));
        let address = line.and_then(|line| number(line.split_whitespace().next()?));
        let address = address.unwrap_or_else(|| panic!("nm shows no {name}"));
        let segment = segments
            .iter()
            .find(|[_, from, size]| (*from..from + size).contains(&address));
        let [offset, from, _] = segment.expect("it is mapped");
        address - from + offset
    });
    Some(addresses.collect())
}

#[track_caller]
fn check(path: &Path, names: &[&str], expected: &Image) {
    let Some(entries) = truth(path, names) else {
        return;
    };
    let image = one(path);
    assert_eq!(image.library, expected.library);
    assert_eq!(image.static_linked, expected.static_linked);
    let calls: Vec<Call> = image.functions.iter().map(|function| function.call).collect();
    let expected: Vec<Call> = expected.functions.iter().map(|function| function.call).collect();
    assert_eq!(calls, expected);
    let found: Vec<u64> = image.functions.iter().map(|function| function.entry).collect();
    assert_eq!(found, entries);
    assert!(image.functions.iter().all(|function| function.returns == Returns::Trap));
}

fn expected(library: Library, static_linked: bool, calls: &[Call]) -> Image {
    let functions = calls.iter().map(|&call| Function {
        call,
        entry: 0,
        returns: Returns::Trap,
    });
    Image {
        library,
        version: None,
        functions: functions.collect(),
        static_linked,
        go_abi: None,
    }
}

const OPENSSL: [&str; 5] = [
    "SSL_read",
    "SSL_read_ex",
    "SSL_write",
    "SSL_write_ex",
    "SSL_do_handshake",
];
const OPENSSL_CALLS: [Call; 5] = [
    Call::SslRead,
    Call::SslReadEx,
    Call::SslWrite,
    Call::SslWriteEx,
    Call::SslHandshake,
];

#[test]
fn openssl_as_a_shared_library() {
    let Some(path) = on_machine("libssl.so.3") else {
        return;
    };
    check(&path, &OPENSSL, &expected(Library::OpenSsl, false, &OPENSSL_CALLS));
    let version = one(&path).version.expect("its name has one at least");
    assert!(version.starts_with('3'), "{version}");
}

#[test]
fn openssl_linked_into_node() {
    let Some(path) = on_machine("node") else {
        return;
    };
    check(&path, &OPENSSL, &expected(Library::OpenSsl, true, &OPENSSL_CALLS));
    let Ok(said) = Command::new(&path).args(["-p", "process.versions.openssl"]).output() else {
        return;
    };
    let said = String::from_utf8_lossy(&said.stdout);
    // `3.0.19+quic` in builds with changes of their own.
    let version = one(&path).version.expect("a text tells it");
    assert!(said.trim().starts_with(&version), "{said} {version}");
}

#[test]
fn gnutls_sends_are_seen_once() {
    let Some(path) = on_machine("libgnutls.so.30") else {
        return;
    };
    // `gnutls_record_send` jumps to `gnutls_record_send2`, so it is not among them.
    let names = [
        "gnutls_record_recv",
        "gnutls_record_recv_seq",
        "gnutls_record_send2",
        "gnutls_record_uncork",
        "gnutls_handshake",
    ];
    let calls = [
        Call::GnuTlsRecv,
        Call::GnuTlsRecv,
        Call::GnuTlsSend,
        Call::GnuTlsUncork,
        Call::GnuTlsHandshake,
    ];
    check(&path, &names, &expected(Library::GnuTls, false, &calls));
    let version = one(&path).version.expect("a text tells it");
    assert!(version.starts_with("3."), "{version}");
}

#[test]
fn nspr_and_nss_as_shared_libraries() {
    if let Some(path) = on_machine("libnspr4.so") {
        let names = ["PR_Read", "PR_Recv", "PR_Write", "PR_Send"];
        let calls = [Call::PrRead, Call::PrRecv, Call::PrWrite, Call::PrSend];
        check(&path, &names, &expected(Library::Nss, false, &calls));
    }
    if let Some(path) = on_machine("libssl3.so") {
        let names = ["SSL_ImportFD", "SSL_ForceHandshake"];
        let calls = [Call::NssImport, Call::NssHandshake];
        check(&path, &names, &expected(Library::Nss, false, &calls));
    }
}

#[test]
fn a_program_that_only_uses_a_library_has_no_tls() {
    for name in ["libcrypto.so.3", "ls"] {
        if let Some(path) = on_machine(name) {
            assert!(matches!(look(&path), Err(NotCovered::NoTls)), "{name}");
        }
    }
}

#[test]
fn names_of_libraries() {
    let named = [
        "libssl.so.3",
        "libssl.so.1.1",
        "libssl.so",
        "libssl-3e69114b.so.1.1",
        "libgnutls.so.30",
        "libgnutls.so.30.34.3",
        "libnspr4.so",
        "libssl3.so",
        "libnss3.so",
        "libboringssl.so",
        "libjvm.so",
    ];
    let others = [
        "libsslcommon.so",
        "libcrypto.so.3",
        "libc.so.6",
        "libssl",
        "ssl.so",
        "",
        "libgnutlsxx.so.30",
    ];
    assert!(named.into_iter().all(looks_like_tls_library));
    assert!(!others.into_iter().any(looks_like_tls_library));
}

#[test]
fn what_is_no_elf_file_is_said_to_be_none() {
    let text: &[u8] = b"#!/bin/sh\necho this is longer than the header of a program, so that it can be looked at\n";
    assert!(matches!(inspect_source(&text), Err(NotCovered::Malformed(_))));
    let cut: &[u8] = b"\x7fELF";
    assert!(matches!(inspect_source(&cut), Err(NotCovered::Malformed(_))));
}

/// A file that is large by its length only.
struct Sparse(Vec<u8>);

impl ReadAt for Sparse {
    fn length(&self) -> io::Result<u64> {
        Ok(1 << 40)
    }

    fn read_exact_at(&self, into: &mut [u8], at: u64) -> io::Result<()> {
        into.fill(0);
        let from = usize::try_from(at).map_or(self.0.len(), |at| at.min(self.0.len()));
        let there = &self.0[from..self.0.len().min(from + into.len())];
        into[..there.len()].copy_from_slice(there);
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    /// Bytes of a real library, changed where its headers and tables are.
    #[test]
    fn a_broken_file_is_no_trouble(
        changes in proptest::collection::vec((0..4096usize, any::<u8>()), 1..40),
        length in 0..700_000usize,
        sparse: bool,
    ) {
        let Some(path) = on_machine("libssl.so.3") else {
            return Ok(());
        };
        let mut bytes = fs::read(path).expect("it can be read");
        bytes.truncate(length.max(64));
        let size = bytes.len();
        for (at, byte) in changes {
            // Half of the changes hit the headers, half the end, where the sections are told.
            let at = if at % 2 == 0 { at % size.min(512) } else { size - 1 - at % size };
            if at > 5 {
                bytes[at] = byte;
            }
        }
        // Either is fine.
        if sparse {
            drop(inspect_source(&Sparse(bytes)));
        } else {
            drop(inspect_source(&bytes.as_slice()));
        }
    }

    #[test]
    fn any_bytes_are_no_trouble(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        drop(inspect_source(&bytes.as_slice()));
        let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\x3e\0".to_vec();
        elf.extend(&bytes);
        drop(inspect_source(&elf.as_slice()));
    }
}
