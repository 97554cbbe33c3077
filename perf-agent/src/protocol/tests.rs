//! What holds for every dissector, whatever it is fed. Conversations of HTTP/1 are made here; those of protocols that are
//! [`super::framed`] by each of them, and held to the same properties in [`framed`].

pub(super) mod framed;
pub(super) mod peer;

use proptest::prelude::*;

use super::recorder::Recorder;
use super::*;
use crate::exchange::Outcome;

/// What a dissector may hold at any time, whatever it is fed. The largest part is a head that is not complete, in each
/// half.
const MAX_HEAP: usize = 192 * 1024;

/// One thing that happens on a connection.
#[derive(Clone, Debug)]
enum Step {
    Bytes(Half, Vec<u8>),
    Gap {
        half: Half,
        missing: u64,
        tail: Vec<u8>,
        lost: bool,
    },
    Close(Option<Half>, Change),
}

/// Feeds all steps, each a millisecond after the other.
fn feed(dissector: &mut dyn Dissector, steps: &[Step], sink: &mut Recorder) {
    for (index, step) in steps.iter().enumerate() {
        let at_ns = (index as u64 + 1) * 1_000_000;
        let verdict = match step {
            Step::Bytes(half, bytes) => dissector.bytes(chunk(*half, bytes, at_ns), sink),
            Step::Gap {
                half,
                missing,
                tail,
                lost,
            } => dissector.gap(
                Gap {
                    half: *half,
                    missing: *missing,
                    tail: (!tail.is_empty()).then_some(tail),
                    at_ns,
                    lost: *lost,
                    tgid: 1,
                    tid: 1,
                },
                sink,
            ),
            Step::Close(half, change) => {
                dissector.closed(*half, at_ns, *change, sink);
                Verdict::Continue
            }
        };
        assert!(dissector.heap_bytes() <= MAX_HEAP, "{} bytes", dissector.heap_bytes());
        if verdict == Verdict::Opaque {
            break;
        }
    }
}

fn chunk(half: Half, bytes: &[u8], at_ns: u64) -> Chunk<'_> {
    Chunk {
        half,
        bytes,
        at_ns,
        arrival_ns: None,
        tgid: 1,
        tid: 1,
    }
}

fn half() -> impl Strategy<Value = Half> {
    prop_oneof![Just(Half::Request), Just(Half::Response)]
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        Just(Change::PeerClosed),
        Just(Change::LocalClosed),
        Just(Change::Reset),
        Just(Change::Destroyed)
    ]
}

/// Bytes that are now and then what a protocol wants to see.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    const WORDS: &[&[u8]] = &[
        b"GET / HTTP/1.1\r\n",
        b"HEAD /a?b HTTP/1.0\r\n",
        b"CONNECT a:1 HTTP/1.1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 101 x\r\n\r\n",
        b"HTTP/1.1 204 x\r\n\r\n",
        b"Content-Length: 5\r\n",
        b"Content-Type: text/event-stream\r\n",
        b"Upgrade: websocket\r\n",
        b"content-length: 18446744073709551615\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Expect: 100-continue\r\n",
        b"\r\n",
        b"\r\n\r\n",
        b"0\r\n\r\n",
        b"ffffffffffffffff\r\n",
        b"5\r\nhello\r\n",
    ];
    let word = prop_oneof![
        6 => (0..WORDS.len()).prop_map(|index| WORDS[index].to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..40),
        1 => (0u8..=255, 0usize..70_000).prop_map(|(byte, count)| vec![byte; count]),
    ];
    prop::collection::vec(word, 0..6).prop_map(|words| words.concat())
}

fn step() -> impl Strategy<Value = Step> {
    let missing = prop_oneof![0u64..20, 0u64..100_000, any::<u64>().prop_map(|wide| wide >> 8)];
    prop_oneof![
        8 => (half(), bytes()).prop_map(|(half, bytes)| Step::Bytes(half, bytes)),
        2 => (half(), missing, prop::collection::vec(any::<u8>(), 0..9), any::<bool>())
            .prop_map(|(half, missing, tail, lost)| Step::Gap { half, missing, tail, lost }),
        1 => (prop::option::of(half()), change()).prop_map(|(half, change)| Step::Close(half, change)),
    ]
}

/// A valid conversation: what goes, in causal order, and what must be told of it.
#[derive(Clone, Debug)]
struct Conversation {
    parts: Vec<(Half, Vec<u8>)>,
    /// Method, path and status.
    expected: Vec<(String, String, u16)>,
}

/// One request and its response, as bytes.
#[derive(Clone, Debug)]
struct Pair {
    method: &'static str,
    path: String,
    status: u16,
    request: Vec<u8>,
    response: Vec<u8>,
}

/// Fields and body of a message, framed in one of the ways that keep the connection.
/// `trailer` may follow a chunked body.
fn framed(trailer: &'static str) -> impl Strategy<Value = (String, Vec<u8>)> {
    let body = prop::collection::vec(prop_oneof![Just(b'\n'), Just(b'G'), any::<u8>()], 0..200);
    let chunks = prop::collection::vec(prop::collection::vec(any::<u8>(), 1..60), 0..4);
    prop_oneof![
        body.prop_map(|body| (format!("CONTENT-length: {}\r\n", body.len()), body)),
        (chunks, any::<bool>()).prop_map(move |(chunks, with_trailer)| {
            let mut body = Vec::new();
            for chunk in chunks {
                body.extend(format!("{:x};a=b\r\n", chunk.len()).bytes());
                body.extend(chunk);
                body.extend(b"\r\n");
            }
            body.extend(b"0\r\n");
            body.extend(if with_trailer { trailer.bytes() } else { "".bytes() });
            body.extend(b"\r\n");
            ("Transfer-Encoding: chunked\r\n".to_owned(), body)
        }),
    ]
}

fn pair(trailer: &'static str) -> impl Strategy<Value = Pair> {
    let method = prop_oneof![Just("GET"), Just("POST"), Just("HEAD"), Just("BREW"), Just("PROPFIND")];
    let status = prop_oneof![3 => 200u16..=203, 1 => Just(204), 1 => Just(304), 2 => 400..=599u16];
    let path = "/[a-zA-Z0-9/%._-]{0,30}";
    let filler = "([A-Z][a-z-]{0,8}: [ -~]{0,40}\r\n){0,5}";
    let (asks, answers, interims) = (prop::option::of(framed(trailer)), framed(trailer), 0..3usize);
    (method, path, status, filler, asks, answers, interims).prop_map(
        |(method, path, status, filler, asks, (fields, body), interims)| {
            let (ask_fields, ask_body) = asks.unwrap_or_default();
            let mut request = format!("{method} {path}?q HTTP/1.1\r\nHost: h\r\n{ask_fields}{filler}\r\n").into_bytes();
            request.extend(ask_body);
            let bodiless = method == "HEAD" || status == 204 || status == 304;
            let mut response = "HTTP/1.1 103 Early\r\nLink: x\r\n\r\n".repeat(interims).into_bytes();
            response.extend(format!("HTTP/1.1 {status} Some Reason\r\n{filler}{fields}\r\n").into_bytes());
            if !bodiless {
                response.extend(body);
            }
            Pair {
                method,
                path,
                status,
                request,
                response,
            }
        },
    )
}

/// Batches of pipelined pairs, the last of them perhaps with a response that lasts until the end.
fn conversation(trailer: &'static str) -> impl Strategy<Value = Conversation> {
    prop::collection::vec(prop::collection::vec(pair(trailer), 1..5), 1..5).prop_map(|batches| {
        let mut conversation = Conversation {
            parts: Vec::new(),
            expected: Vec::new(),
        };
        for batch in batches {
            let both = [
                (
                    Half::Request,
                    batch.iter().flat_map(|pair| pair.request.clone()).collect(),
                ),
                (
                    Half::Response,
                    batch.iter().flat_map(|pair| pair.response.clone()).collect(),
                ),
            ];
            conversation.parts.extend(both);
            conversation.expected.extend(
                batch
                    .into_iter()
                    .map(|pair| (pair.method.to_owned(), pair.path, pair.status)),
            );
        }
        conversation
    })
}

/// Cuts each part into chunks; `cuts` says how long they are, in turn.
fn chunked(parts: &[(Half, Vec<u8>)], cuts: &[usize]) -> Vec<Step> {
    let mut cuts = cuts.iter().copied().cycle();
    let mut steps = Vec::new();
    for (half, part) in parts {
        let mut rest = &part[..];
        while !rest.is_empty() {
            let (now, after) = rest.split_at(cuts.next().map_or(rest.len(), |cut| cut.clamp(1, rest.len())));
            steps.push(Step::Bytes(*half, now.to_vec()));
            rest = after;
        }
    }
    steps
}

/// The steps as a wire dump.
fn dump(steps: &[Step]) -> String {
    let line = |step: &Step| match step {
        Step::Bytes(half, bytes) => format!("\n{half:?} {}", bytes.escape_ascii()),
        other => format!("\n{other:?}"),
    };
    steps.iter().map(line).collect()
}

fn cuts() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(prop_oneof![1usize..4, 1usize..50, 1usize..1000], 1..20)
}

/// Method, path, status, outcome, bytes of request and response.
type Seen = (String, String, Option<u16>, Outcome, u64, u64);

fn exchanges(steps: &[Step]) -> (Vec<Seen>, usize) {
    let mut sink = Recorder::default();
    let mut dissector = (http1::ENTRY.dissector)(true);
    feed(&mut *dissector, steps, &mut sink);
    let seen = sink
        .told
        .iter()
        .map(|told| {
            let ended = told.ended.unwrap_or_else(|| panic!("in flight: {told:?}"));
            let times = ended.times;
            assert!(times.request_first_ns <= times.request_last_ns);
            assert!(
                times
                    .response_first_ns
                    .is_some_and(|first| first <= times.response_last_ns)
            );
            let (path, method) = (told.path.clone(), told.method.clone());
            (
                method,
                path,
                ended.status,
                ended.outcome,
                ended.request_bytes,
                ended.response_bytes,
            )
        })
        .collect();
    (seen, sink.losses.len())
}

proptest! {
    #[test]
    fn any_chunking_of_a_conversation_gives_its_exchanges(
        conversation in conversation("T: GET / HTTP/1.1\r\n"),
        cuts in cuts(),
    ) {
        let (seen, losses) = exchanges(&chunked(&conversation.parts, &cuts));
        let told: Vec<_> = seen.iter().map(|seen| (seen.0.clone(), seen.1.clone(), seen.2.expect("status"))).collect();
        prop_assert_eq!(told, conversation.expected);
        prop_assert!(seen.iter().all(|seen| seen.3 == Outcome::Answered));
        prop_assert_eq!(losses, 0);
        let sent = |half| {
            let bytes = |(of, part): &(Half, Vec<u8>)| if *of == half { part.len() as u64 } else { 0 };
            conversation.parts.iter().map(bytes).sum::<u64>()
        };
        prop_assert_eq!(seen.iter().map(|seen| seen.4).sum::<u64>(), sent(Half::Request));
        prop_assert_eq!(seen.iter().map(|seen| seen.5).sum::<u64>(), sent(Half::Response));
        prop_assert_eq!(seen, exchanges(&chunked(&conversation.parts, &[usize::MAX])).0);
    }

    #[test]
    fn anything_at_all_ends_without_panic_and_within_bounds(
        steps in prop::collection::vec(step(), 0..40),
        from_start in any::<bool>(),
    ) {
        for protocol in PROTOCOLS {
            let mut sink = Recorder::default();
            let mut dissector = (protocol.dissector)(from_start);
            feed(&mut *dissector, &steps, &mut sink);
            dissector.cut(u64::MAX, Outcome::Cut, &mut sink);
            prop_assert_eq!(sink.in_flight(), 0);
        }
    }

    #[test]
    fn after_a_gap_it_recovers_or_stops_honestly(
        // None that looks like a message: where framing is lost, that is all there is to go by.
        conversation in conversation("T: x\r\n"),
        cuts in cuts(),
        dropped in prop::collection::vec(any::<prop::sample::Index>(), 1..4),
        lost in any::<bool>(),
    ) {
        let mut steps = chunked(&conversation.parts, &cuts);
        for index in dropped {
            let step = &mut steps[index.index(conversation.parts.len())];
            if let Step::Bytes(half, bytes) = step {
                let tail = if lost { &[] } else { &bytes[bytes.len().saturating_sub(8)..] };
                *step = Step::Gap { half: *half, missing: bytes.len() as u64, tail: tail.to_vec(), lost };
            }
        }
        let mut sink = Recorder::default();
        let mut dissector = (http1::ENTRY.dissector)(true);
        feed(&mut *dissector, &steps, &mut sink);
        // What comes after a silence is understood, or it said that it stopped.
        let mut late = |half, bytes: &[u8], at_ns| dissector.bytes(chunk(half, bytes, at_ns), &mut sink);
        let asked = late(Half::Request, b"GET /late HTTP/1.1\r\n\r\n", 10_000_000_000);
        let answered = late(Half::Response, b"HTTP/1.1 201 x\r\nContent-Length: 0\r\n\r\n", 10_000_000_001);
        let told = sink.told.last().cloned();
        dissector.cut(u64::MAX, Outcome::Cut, &mut sink);
        prop_assert_eq!(sink.in_flight(), 0);
        // No status that was not sent, on no other path than its own.
        for told in &sink.told {
            let Some(status) = told.ended.and_then(|ended| ended.status) else { continue };
            let sent = conversation.expected.iter().any(|(method, path, expected)| {
                *method == told.method && (*path == told.path || told.path.is_empty()) && *expected == status
            });
            prop_assert!(sent || told.path == "/late", "{:?} in {}", told, dump(&steps));
        }
        if let Some(told) = told
            && told.path == "/late"
            && asked == Verdict::Continue
            && let Some(ended) = told.ended
        {
            prop_assert!(answered == Verdict::Continue);
            prop_assert!(ended.status == Some(201) || ended.outcome == Outcome::Unknown, "{:?}", told);
        }
    }
}
