//! Datagrams of any bytes, which come in any order: the books close.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use perf_agent::pipeline::{Pipeline, Settings};
use perf_agent::statistics;
use perf_common::record::{DatagramRecord, RecordHeader, TickRecord, kind};

#[derive(Arbitrary, Debug)]
struct Step<'a> {
    socket: u8,
    sent: bool,
    remote: Option<(u8, u16)>,
    wait_ms: u16,
    /// One of these, or bytes of its own.
    word: Option<u8>,
    bytes: &'a [u8],
}

const WORDS: [&[u8]; 4] = [
    b"\0\x01\x01\0\0\x01\0\0\0\0\0\0\x01a\0\0\x01\0\x01",
    b"\0\x01\x81\x80\0\x01\0\x01\0\0\0\0\x01a\0\0\x01\0\x01\xc0\x0c\0\x01\0\x01\0\0\0\x09\0\x04\x7f\0\0\x01",
    b"\0\x02\x01\0\0\x01\0\0\0\0\0\x01\x01b\0\0\x1c\0\x01\0\0\x29\x04\xd0\0\0\0\0\0\0",
    b"\0\x02\x81\x83\0\x01\0\0\0\0\0\0\x01b\0\0\x1c\0\x01",
];

fuzz_target!(|steps: Vec<Step<'_>>| {
    let settings = Settings {
        connections: 4,
        statistics: statistics::Settings::default(),
    };
    let mut pipeline = Pipeline::new(settings).expect("no patterns");
    let mut now_ns = 0;
    for step in &steps {
        now_ns += u64::from(step.wait_ms) * 1_000_000;
        let bytes = step
            .word
            .map_or(step.bytes, |word| WORDS[usize::from(word) % WORDS.len()]);
        let captured = bytes.len() as u32;
        let mut header = RecordHeader::of::<DatagramRecord>(kind::DATAGRAM, 0, now_ns);
        header.size += captured;
        let (last, remote_port) = step.remote.unwrap_or_default();
        let record = DatagramRecord {
            header,
            socket: u64::from(step.socket % 4),
            tgid: 7,
            tid: 7,
            length: captured,
            captured,
            local_port: 4000,
            remote_port,
            direction: u8::from(step.sent),
            reserved: [0; 3],
            local_address: [0; 16],
            remote_address: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, last],
            comm: [0; 16],
        };
        pipeline.apply(&[&record.to_bytes()[..], bytes].concat());
        if step.wait_ms > 0x8000 {
            pipeline.apply(&TickRecord::new(now_ns, now_ns).to_bytes());
        }
    }
    pipeline.finish();
    let exchanges = pipeline.snapshot().accounting.exchanges;
    assert_eq!(exchanges.in_flight, 0);
    assert_eq!(exchanges.opened, exchanges.answered + exchanges.cut + exchanges.unknown);
});
