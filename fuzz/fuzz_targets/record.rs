//! Any bytes are a record or an error.
#![no_main]

use libfuzzer_sys::fuzz_target;
use perf_agent::event::Event;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(Event::Segment(segment)) = Event::decode(bytes) {
        assert!(segment.bytes.len() <= segment.length as usize);
        assert!(segment.tail.is_none_or(|tail| tail.len() <= segment.length as usize));
    }
});
