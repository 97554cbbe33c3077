//! A TLS client's first bytes: any of them name a host, or none.
#![no_main]

use libfuzzer_sys::fuzz_target;
use perf_agent::protocol::client_hello::server_name;

fuzz_target!(|bytes: &[u8]| {
    if let Some(name) = server_name(bytes) {
        assert!((1..=253).contains(&name.len()));
        assert!(name.is_ascii());
    }
});
