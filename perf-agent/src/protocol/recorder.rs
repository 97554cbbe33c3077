//! For tests: a sink that writes down what it is told, and checks that every ticket comes back once.

use crate::exchange::{Ended, Loss, Request, Sink, Ticket};

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
        });
        Ticket(u32::try_from(self.told.len() - 1).expect("few exchanges"))
    }

    fn ended(&mut self, ticket: Ticket, ended: &Ended) {
        let told = &mut self.told[ticket.0 as usize];
        assert_eq!(told.ended, None, "ended twice: {told:?}");
        told.ended = Some(*ended);
        self.ended.push(ticket);
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

    /// Exchanges that have not ended.
    pub(crate) fn in_flight(&self) -> usize {
        self.told.iter().filter(|told| told.ended.is_none()).count()
    }
}

impl Told {
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
