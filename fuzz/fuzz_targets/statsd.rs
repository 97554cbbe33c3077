//! StatsD: any bytes are read or counted, and what is read has a place or is refused, in bounded memory.
#![no_main]

use libfuzzer_sys::fuzz_target;
use perf_agent::aggregate::Window;
use perf_agent::custom::statsd::parse;
use perf_agent::custom::{ATTRIBUTES, CustomMetrics, SERIES};

fuzz_target!(|datagrams: Vec<&[u8]>| {
    let mut metrics = CustomMetrics::default();
    let mut refused = 0;
    for (datagram, at_ns) in datagrams.iter().zip((1..).map(|number: u64| number * 3_000_000_000)) {
        let mut samples = 0;
        let parsed = parse(datagram, |sample| {
            samples += 1;
            assert!(sample.weight >= 1.0 && sample.weight.is_finite());
            refused += u64::from(metrics.record(sample, at_ns).is_err());
        });
        assert_eq!(parsed.samples, samples);
    }
    let snapshot = metrics.snapshot(datagrams.len() as u64 * 3_000_000_000);
    assert_eq!(snapshot.dropped(), refused);
    assert!(snapshot.series() <= SERIES);
    for view in snapshot.views(None, Window::Start) {
        assert!(view.sum.is_finite() && view.attributes.len() <= ATTRIBUTES);
        assert!(view.mean.is_some() == (view.count > 0));
    }
});
