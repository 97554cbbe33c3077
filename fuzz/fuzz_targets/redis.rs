//! Redis, see `perf_agent_fuzz`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use perf_agent::protocol::redis;
use perf_agent_fuzz::{Step, Words, feed};

const WORDS: Words = Words {
    requests: [
        b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n",
        b"*3\r\n$9\r\nSUBSCRIBE\r\n$1\r\na\r\n$1\r\nb\r\n",
        b"MONITOR\r\n",
        b"*3\r\n$6\r\nCONFIG\r\n$3\r\nGET\r\n$1\r\n*\r\n",
    ],
    responses: [
        b"+OK\r\n",
        b"*2\r\n$1\r\na\r\n:1\r\n",
        b">3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n",
        b"-WRONGTYPE x\r\n",
    ],
};

fuzz_target!(|input: (bool, Vec<Step<'_>>)| feed(&redis::ENTRY, &WORDS, input.0, &input.1));
