//! For tests: a sink that writes down what it is told, and checks that every ticket comes back once.

use crate::exchange::{Ended, Loss, Request, Sink, StreamEnded, StreamKind, StreamMoved, Ticket};

/// One exchange, as it was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) protocol: &'static str,
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) host: Option<String>,
    pub(crate) request_id: Option<String>,
    pub(crate) first_ns: u64,
    pub(crate) tid: u32,
    pub(crate) ended: Option<Ended>,
    /// What went by of the stream that it became: bytes of request and response, messages.
    pub(crate) moved: [u64; 2],
    pub(crate) messages: Option<[u64; 2]>,
    pub(crate) stream_ended: Option<StreamEnded>,
}

/// Writes down.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    /// In the order in which they were opened.
    pub(crate) told: Vec<Told>,
    /// In the order in which they ended.
    pub(crate) ended: Vec<Ticket>,
    pub(crate) losses: Vec<Loss>,
}

impl Sink for Recorder {
    fn opened(&mut self, request: &Request<'_>) -> Ticket {
        self.told.push(Told {
            protocol: request.protocol.name(),
            method: request.method.into(),
            path: request.path.into(),
            query: request.query.into(),
            host: request.host.map(Into::into),
            request_id: request.request_id.map(Into::into),
            first_ns: request.first_ns,
            tid: request.tid,
            ended: None,
            moved: [0; 2],
            messages: None,
            stream_ended: None,
        });
        Ticket(u32::try_from(self.told.len() - 1).expect("few exchanges"))
    }

    fn ended(&mut self, ticket: Ticket, ended: &Ended) {
        let told = &mut self.told[ticket.0 as usize];
        assert_eq!(told.ended, None, "ended twice: {told:?}");
        told.ended = Some(*ended);
        let counts = matches!(
            ended.stream,
            Some(StreamKind::WebSocket | StreamKind::Subscription | StreamKind::Copy)
        );
        told.messages = counts.then_some([0; 2]);
        self.ended.push(ticket);
    }

    fn stream_moved(&mut self, ticket: Ticket, moved: &StreamMoved) {
        let told = &mut self.told[ticket.0 as usize];
        assert!(
            told.is_stream() && told.stream_ended.is_none(),
            "no open stream: {told:?}"
        );
        told.moved[0] += moved.request_bytes;
        told.moved[1] += moved.response_bytes;
        let sum = |([a, b], [c, d]): ([u64; 2], [u64; 2])| [a + c, b + d];
        told.messages = told.messages.zip(moved.messages).map(sum);
    }

    fn stream_ended(&mut self, ticket: Ticket, ended: &StreamEnded) {
        let told = &mut self.told[ticket.0 as usize];
        assert!(
            told.is_stream() && told.stream_ended.is_none(),
            "no open stream: {told:?}"
        );
        told.stream_ended = Some(*ended);
    }

    fn lost(&mut self, loss: Loss) {
        self.losses.push(loss);
    }
}

impl Recorder {
    /// One line per exchange: method, path, status, outcome, and its times: of the request's first and last byte and
    /// the response's first and last one.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.told.iter().map(Told::line).collect()
    }

    /// Exchanges and streams that have not ended.
    pub(crate) fn in_flight(&self) -> usize {
        let open = |told: &&Told| told.ended.is_none() || (told.is_stream() && told.stream_ended.is_none());
        self.told.iter().filter(open).count()
    }

    /// One line per stream: kind, how and when it ended, bytes of request and response, messages.
    pub(crate) fn streams(&self) -> Vec<String> {
        self.told
            .iter()
            .filter(|told| told.is_stream())
            .map(Told::stream)
            .collect()
    }
}

impl Told {
    fn is_stream(&self) -> bool {
        self.ended.is_some_and(|ended| ended.stream.is_some())
    }

    fn stream(&self) -> String {
        let kind = self.ended.and_then(|ended| ended.stream).map_or("-", StreamKind::name);
        let [request, response] = self.moved;
        let end = match &self.stream_ended {
            Some(ended) => format!("{} {}", ended.outcome.name(), ended.at_ns),
            None => "open".into(),
        };
        let status = self.stream_ended.and_then(|ended| ended.status);
        let status = status.map_or_else(String::new, |status| format!(" {status}"));
        let messages = match self.messages {
            Some([asked, answered]) => format!(" {asked}+{answered}"),
            None => String::new(),
        };
        format!("{kind}{status} {end} {request}+{response}{messages}")
    }

    fn line(&self) -> String {
        let Self { method, path, .. } = self;
        let Some(ended) = &self.ended else {
            return format!("{method} {path} in flight");
        };
        let or_dash = |number: Option<u64>| number.map_or("-".into(), |number| number.to_string());
        format!(
            "{method} {path} {} {} {}..{} {}..{}",
            or_dash(ended.status.map(u64::from)),
            ended.outcome.name(),
            ended.times.request_first_ns,
            ended.times.request_last_ns,
            or_dash(ended.times.response_first_ns),
            ended.times.response_last_ns,
        )
    }
}
