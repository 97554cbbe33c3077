//! What is found in real files, and that nothing found in broken ones hurts.

use std::cell::Cell;
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
    inspect(&File::open(path).expect("it can be read")).map(|contents| contents.images)
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

const OPENSSL: [&str; 6] = [
    "SSL_read",
    "SSL_read_ex",
    "SSL_write",
    "SSL_write_ex",
    "SSL_sendfile",
    "SSL_do_handshake",
];
const OPENSSL_CALLS: [Call; 6] = [
    Call::SslRead,
    Call::SslReadEx,
    Call::SslWrite,
    Call::SslWriteEx,
    Call::SslSendfile,
    Call::SslHandshake,
];

#[test]
fn openssl_as_a_shared_library() {
    let Some(path) = on_machine("libssl.so.3") else {
        return;
    };
    let Some(entries) = truth(&path, &OPENSSL) else {
        return;
    };
    let image = one(&path);
    assert_eq!((image.library, image.static_linked), (Library::OpenSsl, false));
    // The filter's have no names; that they are its, real programs show.
    let nameless: Vec<Call> = image
        .functions
        .iter()
        .filter(|function| !entries.contains(&function.entry))
        .map(|function| function.call)
        .collect();
    assert_eq!(nameless, [Call::SslReadEx, Call::SslWriteEx]);
    let mut named: Vec<Call> = image
        .functions
        .iter()
        .filter(|function| entries.contains(&function.entry))
        .map(|function| function.call)
        .collect();
    named.sort();
    assert_eq!(named, OPENSSL_CALLS);
    let version = one(&path).version.expect("its name has one at least");
    assert!(version.starts_with('3'), "{version}");
}

#[test]
fn openssl_linked_into_node() {
    let path = PathBuf::from("/usr/bin/node");
    let symbols = path
        .is_file()
        .then(|| output("nm", &["-D", "--defined-only"], &path))
        .flatten();
    if !symbols.is_some_and(|symbols| symbols.contains(" SSL_read\n")) {
        // Debian's has a shared library instead.
        eprintln!("skipped: no node with OpenSSL in it");
        return;
    }
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
        let names = ["PR_Read", "PR_Recv", "PR_Write", "PR_Send", "PR_Writev"];
        let calls = [Call::PrRead, Call::PrRecv, Call::PrWrite, Call::PrSend, Call::PrWritev];
        check(&path, &names, &expected(Library::Nss, false, &calls));
    }
    if let Some(path) = on_machine("libssl3.so") {
        let names = ["SSL_ImportFD", "SSL_ForceHandshake"];
        let calls = [Call::NssImport, Call::NssHandshake];
        check(&path, &names, &expected(Library::Nss, false, &calls));
    }
}

/// A small program with Go's TLS.
const GO: &str = r#"package main

import (
	"crypto/tls"
	"os"
)

func main() {
	connection, err := tls.Dial("tcp", os.Args[1], nil)
	if err != nil {
		panic(err)
	}
	connection.Write([]byte("x"))
	connection.Read(make([]byte, 1))
}
"#;

/// The compiler, where xtask puts it.
fn go() -> Option<PathBuf> {
    let venv = std::env::var_os("PERF_AGENT_VENV").map(PathBuf::from);
    let cache = std::env::var_os("PERF_AGENT_CACHE").map(PathBuf::from);
    let home = std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache/perf-agent"));
    let venv = venv.or_else(|| Some(cache.or(home)?.join("venv")))?;
    let go = venv.join("bin/go");
    if !go.is_file() {
        skip("go, which `cargo xtask setup --tests` installs");
        return None;
    }
    Some(go)
}

/// Builds a program in `folder`, with C code around it if asked for.
fn build(go: &Path, folder: &Path, name: &str, source: &str, flags: &[&str]) -> PathBuf {
    let (input, output) = (folder.join(format!("{name}.go")), folder.join(name));
    fs::write(&input, source).expect("the folder can be written");
    let built = Command::new(go)
        .args(["build", "-o"])
        .arg(&output)
        .args(flags)
        .arg(&input)
        .current_dir(folder)
        .env("GO111MODULE", "off")
        .env("GOTOOLCHAIN", "local")
        .output()
        .expect("it can be started");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    output
}

/// Begins and return instructions of the program's functions by `nm` and `objdump`, in the order of the calls. Addresses
/// are turned into offsets by the difference that holds for the section of code.
fn go_truth(program: &Path) -> Option<Vec<(Call, u64, Vec<u64>)>> {
    let number = |text: &str| u64::from_str_radix(text, 16).ok();
    let sections = output("readelf", &["-SW"], program)?;
    let text = sections
        .lines()
        .find_map(|line| line.split_once("] .text"))
        .expect("there is code");
    let words: Vec<&str> = text.1.split_whitespace().collect();
    let bias = number(words[1])? - number(words[2])?;
    let names = [
        (Call::GoRead, "crypto/tls.(*Conn).Read"),
        (Call::GoWrite, "crypto/tls.(*Conn).Write"),
        (Call::GoHandshake, "crypto/tls.(*Conn).handshakeContext"),
    ];
    let mut found = Vec::new();
    for (call, name) in names {
        let code = output("objdump", &["-d", &format!("--disassemble={name}")], program)?;
        let mut lines = code.lines().skip_while(|line| !line.ends_with(&format!("<{name}>:")));
        let entry = number(lines.next()?.split_whitespace().next()?)?;
        let of_function = lines.take_while(|line| !line.is_empty());
        let returns = of_function.filter_map(|line| {
            let mut columns = line.split('\t');
            let (address, _, instruction) = (columns.next()?, columns.next()?, columns.next()?);
            let is_return = instruction.split_whitespace().any(|word| word == "ret");
            is_return.then(|| number(address.trim().trim_end_matches(':')).map(|address| address - bias))?
        });
        found.push((call, entry - bias, returns.collect()));
    }
    Some(found)
}

/// What was found of the only image, in the form of [`go_truth`].
fn go_found(program: &Path) -> Vec<(Call, u64, Vec<u64>)> {
    let image = one(program);
    assert_eq!((image.library, image.go_abi), (Library::GoTls, Some(GoAbi::Register)));
    assert!(image.static_linked);
    let version = image.version.expect("the build wrote it down");
    assert!(version.starts_with("go1."), "{version}");
    let functions = image.functions.into_iter().map(|function| match function.returns {
        Returns::At(returns) => (function.call, function.entry, returns),
        Returns::Trap | Returns::Unseen => panic!("a return probe on Go code"),
    });
    functions.collect()
}

#[test]
fn go_programs_however_they_were_linked() {
    let Some(go) = go() else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let mut kinds = vec![("internal", "", "exe"), ("pie", "", "pie")];
    if Command::new("gcc").arg("--version").output().is_ok() {
        // The C linker puts other code before Go's.
        kinds.extend([
            ("external", "-linkmode=external", "exe"),
            ("external_pie", "-linkmode=external", "pie"),
        ]);
    } else {
        skip("gcc");
    }
    for (name, link, mode) in kinds {
        let mode = format!("-buildmode={mode}");
        let whole = build(&go, folder.path(), name, GO, &[&mode, "-ldflags", link]);
        let Some(truth) = go_truth(&whole) else {
            return;
        };
        assert!(truth.iter().all(|(_, _, returns)| !returns.is_empty()), "{truth:x?}");
        assert_eq!(go_found(&whole), truth, "{name}");

        // Without symbols nothing but Go's own table is left; the code is the same.
        let link = format!("{link} -s -w");
        let stripped = build(
            &go,
            folder.path(),
            &format!("{name}_stripped"),
            GO,
            &[&mode, "-ldflags", &link],
        );
        let of_stripped = go_found(&stripped);
        let lengths = |functions: &[(Call, u64, Vec<u64>)]| -> Vec<(Call, Vec<u64>)> {
            let relative = functions
                .iter()
                .map(|(call, entry, returns)| (*call, returns.iter().map(|at| at - entry).collect()));
            relative.collect()
        };
        assert_eq!(lengths(&of_stripped), lengths(&truth), "{name}");

        // Nor section headers, which the system does not need either.
        let mut bytes = fs::read(&stripped).expect("it can be read");
        bytes[0x28..0x30].fill(0);
        bytes[0x3c..0x40].fill(0);
        let without = folder.path().join("without_sections");
        fs::write(&without, bytes).expect("the folder can be written");
        assert_eq!(go_found(&without), of_stripped, "{name}");

        // Before Go 1.27 the C linker left no section of its own for the table.
        let mut bytes = fs::read(&stripped).expect("it can be read");
        let at = memchr::memmem::find(&bytes, b".gopclntab\0").expect("1.27 has one");
        bytes[at + 1] = b'x';
        let unnamed = folder.path().join("unnamed_table");
        fs::write(&unnamed, bytes).expect("the folder can be written");
        assert_eq!(go_found(&unnamed), of_stripped, "{name}");
    }
}

/// A program without sections: code at `0x1000`, then a table of functions of an old layout, then who built it.
fn old_go_program(table: &[u8], version: &str) -> Vec<u8> {
    let mut bytes = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0".to_vec();
    bytes.resize(64 + 3 * 56, 0);
    bytes[0x20] = 64;
    bytes[0x38] = 3;
    // Read and execute, read, read and write.
    for (at, flags) in [5u32, 4, 6].into_iter().enumerate() {
        let (header, place) = (64 + 56 * at, 0x1000 * (at as u64 + 1));
        bytes[header] = 1;
        bytes[header + 4..header + 8].copy_from_slice(&flags.to_le_bytes());
        bytes[header + 8..header + 16].copy_from_slice(&place.to_le_bytes());
        bytes[header + 16..header + 24].copy_from_slice(&(0x40_0000 + place).to_le_bytes());
        bytes[header + 32..header + 40].copy_from_slice(&0x1000u64.to_le_bytes());
    }
    bytes.resize(0x1000, 0);
    // Three functions of 16 bytes, each of which returns behind its second byte.
    bytes.extend([0x66, 0x90, 0xc3].iter().chain(&[0xcc; 13]).cycle().take(48));
    bytes.resize(0x2000, 0);
    bytes.extend(table);
    bytes.resize(0x3000, 0);
    bytes.extend(b"\xff Go buildinf:\x08\x02");
    bytes.resize(0x3020, 0);
    bytes.push(u8::try_from(version.len()).expect("it is short"));
    bytes.extend(version.as_bytes());
    bytes.resize(0x4000, 0);
    bytes
}

const OLD_NAMES: &[u8] = b"main.main\0crypto/tls.(*Conn).Read\0crypto/tls.(*Conn).Write\0";
const OLD_NAME_OFFSETS: [u32; 3] = [0, 10, 34];

/// Three functions with their places, and what is told about them, `base` bytes behind what offsets count from.
fn old_functions(base: usize, names: u32) -> Vec<u8> {
    const TABLE: usize = 3 * 16 + 8;
    let mut bytes = Vec::new();
    for at in 0..3u64 {
        bytes.extend((0x40_1000 + 16 * at).to_le_bytes());
        bytes.extend(((base + TABLE) as u64 + 16 * at).to_le_bytes());
    }
    bytes.extend(0x40_1030u64.to_le_bytes());
    for (at, offset) in OLD_NAME_OFFSETS.iter().enumerate() {
        bytes.extend((0x40_1000 + 16 * at as u64).to_le_bytes());
        bytes.extend((names + offset).to_le_bytes());
        bytes.extend([0; 4]);
    }
    bytes
}

#[track_caller]
fn check_old_go(table: &[u8], version: &str, abi: GoAbi) {
    let program = old_go_program(table, version);
    let images = inspect_source(&program.as_slice()).expect("something is found").images;
    let function = |call, entry| Function {
        call,
        entry,
        returns: Returns::At(vec![entry + 2]),
    };
    let expected = Image {
        library: Library::GoTls,
        version: Some(version.to_owned()),
        functions: vec![function(Call::GoRead, 0x1010), function(Call::GoWrite, 0x1020)],
        static_linked: true,
        go_abi: Some(abi),
    };
    assert_eq!(images, [expected]);
}

#[test]
fn tables_of_older_versions_of_go() {
    let words = |words: &[u64]| -> Vec<u8> { words.iter().flat_map(|word| word.to_le_bytes()).collect() };
    // Names behind all else.
    let names = 16 + 56 + 3 * 16;
    let mut table = b"\xfb\xff\xff\xff\0\0\x01\x08".to_vec();
    table.extend(words(&[3]));
    table.extend(old_functions(16, names));
    table.extend(OLD_NAMES);
    check_old_go(&table, "go1.15.15", GoAbi::Stack);

    let mut table = b"\xfa\xff\xff\xff\0\0\x01\x08".to_vec();
    let functions = 64 + OLD_NAMES.len() as u64;
    table.extend(words(&[3, 0, 64, functions, functions, functions, functions]));
    table.extend(OLD_NAMES);
    table.extend(old_functions(0, 0));
    check_old_go(&table, "go1.16.15", GoAbi::Stack);
    check_old_go(&table, "go1.17.13", GoAbi::Register);
    check_old_go(&table, "go1.17.13 X:noregabi", GoAbi::Stack);
}

#[test]
fn a_go_program_without_tls_has_none() {
    let Some(go) = go() else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let program = build(
        &go,
        folder.path(),
        "plain",
        "package main\n\nfunc main() { println(1) }\n",
        &[],
    );
    assert!(matches!(look(&program), Err(NotCovered::NoTls)));
}

/// Builds a shared library from C.
fn c(folder: &Path, source: &str, flags: &[&str]) -> Option<PathBuf> {
    let (input, output) = (folder.join("library.c"), folder.join("library.so"));
    fs::write(&input, source).expect("the folder can be written");
    let mut gcc = Command::new("gcc");
    gcc.args(["-shared", "-fPIC", "-O1", "-o"])
        .arg(&output)
        .args(flags)
        .arg(&input);
    let Ok(built) = gcc.output() else {
        skip("gcc");
        return None;
    };
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    Some(output)
}

#[track_caller]
fn check_calls(source: &str, flags: &[&str], library: Library, calls: &[Call]) {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(path) = c(folder.path(), source, flags) else {
        return;
    };
    let image = one(&path);
    let found: Vec<Call> = image.functions.iter().map(|function| function.call).collect();
    assert_eq!(
        (image.library, found.as_slice(), image.static_linked),
        (library, calls, true)
    );
}

#[track_caller]
fn check_not_covered(source: &str, expected: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(path) = c(folder.path(), source, &["-s"]) else {
        return;
    };
    assert_eq!(look(&path).expect_err("nothing can be probed").to_string(), expected);
}

const C_READ_WRITE: &str = "int SSL_read(void) { return 1; } int SSL_write(void) { return 2; }";

#[test]
fn functions_that_are_not_exported_are_found_by_symbols() {
    let calls = [Call::SslRead, Call::SslWrite];
    check_calls(C_READ_WRITE, &["-fvisibility=hidden"], Library::OpenSsl, &calls);
}

/// What `BIO_f_ssl` gives, with these functions in it: of OpenSSL since 1.1.1, and as LibreSSL and older ones have it.
fn filter(functions: &str) -> String {
    format!(
        "{C_READ_WRITE} static int filter_write(void *b) {{ return 3; }} static int filter_read(void *b) {{ return 4; }}
         static const struct {{ int type; char *name; void *functions[8]; }} methods = {{ 519, \"ssl\", {{ {functions} }} }};
         const void *BIO_f_ssl(void) {{ return &methods; }}"
    )
}

#[test]
fn what_openssls_filter_does_is_found_by_its_table() {
    let folder = tempfile::tempdir().expect("a folder");
    let source = filter("filter_write, 0, filter_read, 0, filter_write");
    let Some(path) = c(folder.path(), &source, &[]) else {
        return;
    };
    let Some(symbols) = output("nm", &["--defined-only"], &path) else {
        return;
    };
    let image = one(&path);
    // Code lies at the same place in the file as in memory: the first segment begins at 0, and there is no gap.
    let at = |name: &str| {
        let line = symbols.lines().find(|line| line.ends_with(&format!(" {name}")));
        u64::from_str_radix(&line.expect("nm shows it")[..16], 16).expect("a number")
    };
    let has = |call: Call, name: &str| {
        let mut functions = image.functions.iter();
        functions.any(|function| (function.call, function.entry) == (call, at(name)))
    };
    assert!(has(Call::SslReadEx, "filter_read"), "{image:?}\n{symbols}");
    assert!(has(Call::SslWriteEx, "filter_write"), "{image:?}\n{symbols}");
}

#[test]
fn another_filters_table_is_let_be() {
    let calls = [Call::SslRead, Call::SslWrite];
    for functions in [
        "filter_write, filter_read, filter_write, 0",
        "filter_write, filter_write, filter_read, filter_read",
        "0, 0, 0, 0",
    ] {
        check_calls(&filter(functions), &[], Library::OpenSsl, &calls);
    }
}

#[test]
fn boringssl_is_known_by_what_only_it_has() {
    let calls = [Call::SslRead, Call::SslWrite];
    let c_names = format!("{C_READ_WRITE} void SSL_CTX_set_early_data_enabled(void) {{}}");
    check_calls(&c_names, &[], Library::BoringSsl, &calls);
    let cpp_names = format!("{C_READ_WRITE} void _ZN4bssl17ssl_open_app_dataEv(void) {{}}");
    check_calls(&cpp_names, &[], Library::BoringSsl, &calls);
}

#[test]
fn a_peek_and_functions_from_elsewhere_are_not_taken() {
    let source = "int SSL_read(void); int SSL_peek(void) { return SSL_read(); } int SSL_peek_ex(void) { return 1; }";
    check_not_covered(source, "no TLS implementation in it");
}

#[test]
fn a_gnutls_send_of_its_own_is_taken_beside_the_other() {
    let own = "int gnutls_record_send(int a) { return a + 1; } int gnutls_record_send2(int a) { return a + 2; }";
    check_calls(own, &[], Library::GnuTls, &[Call::GnuTlsSend, Call::GnuTlsSend]);
    let through_table = "int gnutls_record_send2(int a) { return a + 2; } \
                         int gnutls_record_send(int a) { return gnutls_record_send2(a + 1); }";
    check_calls(through_table, &["-O2"], Library::GnuTls, &[Call::GnuTlsSend]);
    check_calls(through_table, &["-O0"], Library::GnuTls, &[Call::GnuTlsSend]);
    check_calls(
        through_table,
        &["-O0", "-fvisibility=hidden"],
        Library::GnuTls,
        &[Call::GnuTlsSend],
    );
    check_calls(
        through_table,
        &["-fcf-protection", "-fno-plt"],
        Library::GnuTls,
        &[Call::GnuTlsSend],
    );
    let old = "int gnutls_record_send(int a) { return a + 1; }";
    check_calls(old, &[], Library::GnuTls, &[Call::GnuTlsSend]);
}

/// By either mangling; a closure inside of a function, and another type's function of that name, are not it.
#[test]
fn rustls_is_found_by_its_inside() {
    let function = |name: &str| format!("int {name}(int a) {{ return a + 1; }}\n");
    let legacy = [
        "_ZN6rustls4msgs8deframer7buffers17DeframerVecBuffer4read17h0123456789abcdefE",
        "_ZN6rustls12common_state11CommonState23take_received_plaintext17h0123456789abcdefE",
        "_ZN6rustls12common_state11CommonState16buffer_plaintext17h0123456789abcdefE",
        "_ZN6rustls6vecbuf14ChunkVecBuffer8write_to17h0123456789abcdefE",
        "_ZN6rustls6vecbuf14ChunkVecBuffer8write_to28__closure17h0123456789abcdefE",
        "_ZN6rustls6server11server_conn14EarlyDataState23take_received_plaintext17h0123456789abcdefE",
    ];
    let v0 = [
        "_RNvMs0_NtNtNtCsdWfxRHvpGUT_6rustls4msgs8deframer7buffersNtB5_17DeframerVecBuffer4read",
        "_RNvMNtCsdWfxRHvpGUT_6rustls12common_stateNtB2_11CommonState23take_received_plaintext",
        "_RNvMNtCsdWfxRHvpGUT_6rustls12common_stateNtB2_11CommonState16buffer_plaintext",
        "_RNvMs_NtCsdWfxRHvpGUT_6rustls6vecbufNtB4_14ChunkVecBuffer8write_to",
        "_RNvXs7_NtNtCsdWfxRHvpGUT_6rustls4conn10connectionINtB7_16ConnectionCommonNtNtNtB9_6server11server_conn20\
         ServerConnectionDataENtB5_13PlaintextSink14write_vectoredCs1zKDIUISCHm_2rt",
    ];
    let mut calls = vec![
        Call::RustlsReceives,
        Call::RustlsReceived,
        Call::RustlsTakes,
        Call::RustlsSends,
    ];
    let legacy_calls = calls.clone();
    calls.insert(3, Call::RustlsTakesPieces);
    for (names, calls) in [(&legacy[..], &legacy_calls), (&v0[..], &calls)] {
        let source: String = names.iter().map(|name| function(name)).collect();
        check_calls(&source, &[], Library::Rustls, calls);
    }
    // One is compiled into its callers.
    let some: String = legacy[1..].iter().map(|name| function(name)).collect();
    check_not_covered(&some, "no TLS implementation in it");
}

#[test]
fn what_cannot_be_probed_is_said() {
    let text = |text: &str| format!("const char *text(void) {{ return \"{text}\"; }}");
    let boringssl = "BoringSSL is linked into it, without the symbols of its functions";
    check_not_covered(&text("third_party/boringssl/src/ssl/ssl_lib.cc"), boringssl);
    let openssl = "OpenSSL is linked into it, without the symbols of its functions";
    check_not_covered(&text("SSLv3/TLS read client hello"), openssl);
    let rustls =
        "rustls 0.23.46 lacks the functions that are probed: a program with 0.23 has them, unless it is stripped";
    check_not_covered(&text("/root/src/rustls-0.23.46/src/conn.rs"), rustls);
    let java = "Java's TLS is compiled while it runs, no file has it";
    check_not_covered("int JNI_CreateJavaVM(void) { return 0; }", java);
    // Talk about a version is no library.
    check_not_covered(&text("needs OpenSSL 3.0.14 or later"), "no TLS implementation in it");
}

/// As of a Rust program with parts in C++ that bring their own.
#[test]
fn what_cannot_be_probed_is_said_beside_what_can() {
    let folder = tempfile::tempdir().expect("a folder");
    let source = format!(
        "{C_READ_WRITE} const char *text(void) {{ return \"/root/src/rustls-0.23.46/src/conn.rs\"; }}
         const char *other(void) {{ return \"third_party/boringssl/src/ssl/ssl_lib.cc\"; }}"
    );
    let Some(path) = c(folder.path(), &source, &[]) else {
        return;
    };
    let contents = inspect(&File::open(path).expect("it can be read")).expect("something is found");
    let libraries: Vec<_> = contents.images.iter().map(|image| image.library).collect();
    assert_eq!(libraries, [Library::OpenSsl]);
    let others: Vec<_> = contents.others.iter().map(ToString::to_string).collect();
    let rustls =
        "rustls 0.23.46 lacks the functions that are probed: a program with 0.23 has them, unless it is stripped";
    assert_eq!(others, [rustls]);
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

/// A file of a length that it need not have, which holds the reader to its bounds.
struct Watched {
    bytes: Vec<u8>,
    length: u64,
    left: Cell<u64>,
}

impl Watched {
    fn new(bytes: Vec<u8>, length: u64) -> Self {
        let left = Cell::new(512 << 20);
        Self { bytes, length, left }
    }
}

impl ReadAt for Watched {
    fn length(&self) -> io::Result<u64> {
        Ok(self.length)
    }

    fn read_exact_at(&self, into: &mut [u8], at: u64) -> io::Result<()> {
        assert!(into.len() <= 256 * 1024, "{} bytes at once", into.len());
        let left = self.left.get().checked_sub(into.len() as u64);
        self.left.set(left.expect("it does not read for ever"));
        into.fill(0);
        let from = usize::try_from(at).map_or(self.bytes.len(), |at| at.min(self.bytes.len()));
        let there = &self.bytes[from..self.bytes.len().min(from + into.len())];
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
        let length = if sparse { 1 << 40 } else { size as u64 };
        // Whatever is said is fine.
        drop(inspect_source(&Watched::new(bytes, length)));
    }

    #[test]
    fn any_bytes_are_no_trouble(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        drop(inspect_source(&bytes.as_slice()));
        let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\x3e\0".to_vec();
        elf.extend(&bytes);
        drop(inspect_source(&elf.as_slice()));
    }
}
