//! Memcached, see `perf_agent_fuzz`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use perf_agent::protocol::memcached;
use perf_agent_fuzz::{Step, Words, feed};

const WORDS: Words = Words {
    requests: [
        b"get a b\r\nset a 0 0 3\r\nabc\r\nset a 0 0 1 noreply\r\nx\r\n",
        b"mg a v k q O1\r\nms a 2 q\r\nhi\r\nmn\r\n",
        b"watch fetchers\r\n",
        b"\x80\x0d\0\x01\0\0\0\0\0\0\0\x01\0\0\0\x07\0\0\0\0\0\0\0\0a\x80\x0a\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
    ],
    responses: [
        b"VALUE a 0 1\r\nx\r\nEND\r\nSTORED\r\n",
        b"VA 1 ka O1\r\nx\r\nNS\r\nMN\r\n",
        b"SERVER_ERROR x\r\nOK\r\n",
        b"\x81\x0d\0\x01\x04\0\0\0\0\0\0\x06\0\0\0\x07\0\0\0\0\0\0\0\0\0\0\0\0ax",
    ],
};

fuzz_target!(|input: (bool, Vec<Step<'_>>)| feed(&memcached::ENTRY, &WORDS, input.0, &input.1));
