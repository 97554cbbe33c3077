//! Any positions: what is told as new and lost is exactly how far the stream went on.
#![no_main]

use libfuzzer_sys::fuzz_target;
use perf_agent::stream::Flow;

fuzz_target!(|segments: Vec<(u32, u32)>| {
    let mut flow = Flow::default();
    let mut position = None::<u32>;
    for (end, length) in segments {
        let placed = flow.place(end, length);
        assert!(placed.repeated as u64 + placed.new as u64 == length as u64);
        assert!(placed.lost == 0 || placed.repeated == 0);
        let before = position.unwrap_or(end.wrapping_sub(length));
        let moved = (placed.lost + u64::from(placed.new)) as u32;
        let after = before.wrapping_add(moved);
        assert!(after == end || (moved == 0 && placed.repeated == length));
        position = Some(after);
    }
});
