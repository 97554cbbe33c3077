//! DNS over TCP, see `perf_agent_fuzz`, and one message by itself.
#![no_main]

use libfuzzer_sys::fuzz_target;
use perf_agent::protocol::dns;
use perf_agent::protocol::dns::message::{MAX_ADDRESSES, MAX_NAME, Message};
use perf_agent_fuzz::{Step, Words, feed};

const WORDS: Words = Words {
    requests: [
        b"\0\x13\0\x01\x01\0\0\x01\0\0\0\0\0\0\x01a\0\0\x01\0\x01",
        b"\0\x1e\0\x02\x01\0\0\x01\0\0\0\0\0\x01\x01b\0\0\x1c\0\x01\0\0\x29\x04\xd0\0\0\0\0\0\0",
        b"\0\x13\0\x03\x01\0\0\x01\0\0\0\0\0\0\x01z\0\0\xfc\0\x01",
        b"\0\x13\0\x04\x28\0\0\x01\0\0\0\0\0\0\x01u\0\0\x06\0\x01",
    ],
    responses: [
        b"\0\x23\0\x01\x81\x80\0\x01\0\x01\0\0\0\0\x01a\0\0\x01\0\x01\xc0\x0c\0\x01\0\x01\0\0\0\0\0\x04\x7f\0\0\x01",
        b"\0\x13\0\x02\x81\x83\0\x01\0\0\0\0\0\0\x01b\0\0\x1c\0\x01",
        b"\0\x0c\0\x01\x81\x81\0\0\0\0\0\0\0\0",
        b"\0\x13\0\x04\xa8\0\0\x01\0\0\0\0\0\0\x01u\0\0\x06\0\x01",
    ],
};

fuzz_target!(|input: (bool, &[u8], Vec<Step<'_>>)| {
    let (from_start, bytes, steps) = input;
    if let Some(message) = Message::of(bytes) {
        assert!(
            message
                .question
                .is_none_or(|question| question.name.to_string().len() < MAX_NAME)
        );
        assert!(message.question_end() <= bytes.len());
        assert!(message.addresses().count() <= MAX_ADDRESSES);
    }
    feed(&dns::ENTRY, &WORDS, from_start, &steps);
});
