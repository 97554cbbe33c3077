//! The properties of protocols that are [`super::super::framed`].

use proptest::strategy::BoxedStrategy;

use super::*;

/// A valid conversation: what goes, in causal order, and what must be told of it. No message in it may end with what looks
/// like the beginning of another one.
#[derive(Clone, Debug, Default)]
pub(in crate::protocol) struct Talked {
    pub(in crate::protocol) parts: Vec<(Half, Vec<u8>)>,
    /// Operation and error of each exchange, in the order of the requests.
    pub(in crate::protocol) expected: Vec<(String, Option<String>)>,
}

/// A protocol under test.
#[derive(Debug)]
struct Case {
    entry: &'static ProtocolEntry,
    conversation: fn() -> BoxedStrategy<Talked>,
    /// A request that stands for itself, and its answer.
    late: [&'static [u8]; 2],
}

/// One for each framed protocol.
const CASES: &[Case] = &[
    Case {
        entry: &redis::ENTRY,
        conversation: redis::tests::conversation,
        late: [b"*1\r\n$6\r\nDBSIZE\r\n", b":7\r\n"],
    },
    Case {
        entry: &memcached::ENTRY,
        conversation: memcached::tests::conversation,
        late: [b"version\r\n", b"VERSION 1.6.18\r\n"],
    },
    Case {
        entry: &mongodb::ENTRY,
        conversation: mongodb::tests::conversation,
        late: [
            b"\x24\0\0\0\x01\x02\x03\x74\0\0\0\0\xdd\x07\0\0\0\0\0\0\0\x0f\0\0\0\x10ping\0\x01\0\0\0\0",
            b"\x22\0\0\0\x01\0\0\0\x01\x02\x03\x74\xdd\x07\0\0\0\0\0\0\0\x0d\0\0\0\x10ok\0\x01\0\0\0\0",
        ],
    },
    Case {
        entry: &mysql::ENTRY,
        conversation: mysql::tests::conversation,
        late: [b"\x05\0\0\0\x03DO 1", b"\x07\0\0\x01\0\0\0\x02\0\0\0"],
    },
    Case {
        entry: &kafka::ENTRY,
        conversation: kafka::tests::conversation,
        late: [
            b"\0\0\0\x0e\0\x12\0\0\x7f\0\0\0\0\x04late",
            b"\0\0\0\x0a\x7f\0\0\0\0\0\0\0\0\0",
        ],
    },
    Case {
        entry: &dns::ENTRY,
        conversation: dns::tests::conversation,
        late: [
            b"\0\x16\xff\xff\x01\0\0\x01\0\0\0\0\0\0\x04late\0\0\x01\0\x01",
            b"\0\x16\xff\xff\x81\x80\0\x01\0\0\0\0\0\0\x04late\0\0\x01\0\x01",
        ],
    },
    Case {
        entry: &postgres::ENTRY,
        conversation: postgres::tests::conversation,
        late: [b"Q\0\0\0\rROLLBACK\0", b"C\0\0\0\rROLLBACK\0Z\0\0\0\x05I"],
    },
];

fn case() -> impl Strategy<Value = (&'static Case, Talked)> {
    (0..CASES.len()).prop_flat_map(|place| {
        let case = &CASES[place];
        (case.conversation)().prop_map(move |talked| (case, talked))
    })
}

/// Operation, error, outcome and bytes of request and response of all exchanges.
type Told = (String, Option<String>, Option<Outcome>, u64, u64);

fn told(sink: &Recorder) -> Vec<Told> {
    let line = |told: &crate::protocol::recorder::Told| {
        let ended = told.ended;
        let error = ended
            .and_then(|ended| ended.error)
            .map(|error| error.as_str().to_owned());
        let bytes = ended.map_or((0, 0), |ended| (ended.request_bytes, ended.response_bytes));
        (
            told.path.clone(),
            error,
            ended.map(|ended| ended.outcome),
            bytes.0,
            bytes.1,
        )
    };
    sink.told.iter().map(line).collect()
}

fn talk(case: &Case, steps: &[Step]) -> (Vec<Told>, usize) {
    let mut sink = Recorder::default();
    let mut dissector = (case.entry.dissector)(true);
    feed(&mut *dissector, steps, &mut sink);
    for told in &sink.told {
        let Some(ended) = &told.ended else { continue };
        let times = ended.times;
        assert!(times.request_first_ns <= times.request_last_ns, "{told:?}");
        assert!(
            times
                .response_first_ns
                .is_none_or(|first| first <= times.response_last_ns),
            "{told:?}"
        );
    }
    (told(&sink), sink.losses.len())
}

proptest! {
    #[test]
    fn any_chunking_of_a_framed_conversation_gives_its_exchanges(
        (case, talked) in case(),
        cuts in cuts(),
    ) {
        let steps = chunked(&talked.parts, &cuts);
        let (seen, losses) = talk(case, &steps);
        let short: Vec<_> = seen.iter().map(|told| (told.0.clone(), told.1.clone())).collect();
        prop_assert_eq!(short, talked.expected, "{} {}", case.entry.name, dump(&steps));
        prop_assert!(seen.iter().all(|told| told.2 == Some(Outcome::Answered)), "{:?}", seen);
        prop_assert_eq!(losses, 0);
        prop_assert_eq!(seen, talk(case, &chunked(&talked.parts, &[usize::MAX])).0);
    }

    #[test]
    fn a_blanked_conversation_gives_the_same_exchanges((case, talked) in case(), cuts in cuts()) {
        let steps = chunked(&talked.parts, &cuts);
        let mut dissector = (case.entry.dissector)(true);
        dissector.blank();
        let (mut blanked, mut sink) = (Vec::new(), Recorder::default());
        for step in &steps {
            feed(&mut *dissector, std::slice::from_ref(step), &mut sink);
            let (Step::Bytes(half, bytes), news) = (step, dissector.take_blanked()) else { continue };
            prop_assert_eq!(bytes.len(), news.len());
            blanked.push(Step::Bytes(*half, news));
        }
        let shown = dump(&blanked);
        let (told, blanked) = (talk(case, &steps), talk(case, &blanked));
        if case.entry.name == "memcached" {
            // Where answers repeat keys, those of one length look the same.
            let operations = |(told, _): &(Vec<Told>, usize)| told.iter().map(|told| told.0.clone()).collect::<Vec<_>>();
            prop_assert_eq!(operations(&told), operations(&blanked), "{}", shown);
        } else {
            prop_assert_eq!(told, blanked, "{}", shown);
        }
    }

    #[test]
    fn after_a_gap_a_framed_conversation_recovers_or_stops_honestly(
        (case, talked) in case(),
        cuts in cuts(),
        dropped in prop::collection::vec(any::<prop::sample::Index>(), 1..4),
        lost in any::<bool>(),
    ) {
        let mut steps = chunked(&talked.parts, &cuts);
        for index in dropped {
            if steps.is_empty() {
                break;
            }
            let place = index.index(steps.len());
            if let Step::Bytes(half, bytes) = &steps[place] {
                let tail = if lost { &[] } else { &bytes[bytes.len().saturating_sub(8)..] };
                steps[place] = Step::Gap { half: *half, missing: bytes.len() as u64, tail: tail.to_vec(), lost };
            }
        }
        let mut sink = Recorder::default();
        let mut dissector = (case.entry.dissector)(true);
        feed(&mut *dissector, &steps, &mut sink);
        let before = sink.told.len();
        let mut late = |half, bytes: &[u8], at_ns| dissector.bytes(chunk(half, bytes, at_ns), &mut sink);
        let asked = late(Half::Request, case.late[0], 10_000_000_000);
        late(Half::Response, case.late[1], 10_000_000_001);
        dissector.cut(u64::MAX, Outcome::Cut, &mut sink);
        prop_assert_eq!(sink.in_flight(), 0);
        for (operation, error, outcome, ..) in told(&sink).into_iter().take(before) {
            // No error that was not sent to that operation.
            if outcome == Some(Outcome::Answered) && error.is_some() {
                // An operation of which a part is missing is called otherwise.
                let whole = talked.expected.iter().any(|(of, _)| *of == operation);
                // An error of which a part is missing has no name.
                let is = |sent: &Option<String>| *sent == error || sent.is_some() && error.as_deref() == Some("unnamed");
                let sent = talked.expected.iter().any(|(of, sent)| (!whole || *of == operation) && is(sent));
                prop_assert!(sent, "{} {:?} in {}", operation, error, dump(&steps));
            }
        }
        if let Some(told) = sink.told.get(before)
            && asked == Verdict::Continue
            && let Some(ended) = told.ended
        {
            prop_assert!(ended.error.is_none(), "{:?} in {}", told, dump(&steps));
        }
    }
}

/// Every protocol's traffic against every detector: each is recognised as what it is, by both of its first messages'
/// directions, and as nothing else.
#[test]
fn no_protocol_is_mistaken_for_another() {
    use proptest::strategy::ValueTree as _;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    for case in CASES {
        for _ in 0..64 {
            let talked = (case.conversation)()
                .new_tree(&mut runner)
                .expect("a conversation")
                .current();
            let Some((half, bytes)) = talked.parts.first() else {
                continue;
            };
            let direction = match half {
                Half::Request => Direction::Received,
                Half::Response => Direction::Sent,
            };
            let beginning = Beginning {
                bytes,
                length: u32::try_from(bytes.len()).expect("short"),
                direction,
                first: true,
            };
            let found = PROTOCOLS
                .iter()
                .find_map(|entry| Some((entry.name, (entry.detect)(&beginning)?)));
            assert_eq!(
                found,
                Some((case.entry.name, Direction::Received)),
                "{}",
                bytes.escape_ascii()
            );
            let mut first = [0; perf_common::sniff::SNIFF_BYTES];
            let known = bytes.len().min(first.len());
            first[..known].copy_from_slice(&bytes[..known]);
            assert_eq!(
                perf_common::sniff::sniff(first, known, beginning.length),
                perf_common::sniff::looks::MESSAGES,
                "the kernel side does not look at {}",
                bytes.escape_ascii()
            );
        }
    }
}
