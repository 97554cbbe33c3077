//! The request half: where requests begin and end, and when an exchange begins.

use super::body::{Chunked, Fed};
use super::head::{self, Fields, Parsed, RequestHead, Target};
use super::queue::{MAX_PENDING, Method, Pending};
use super::{
    Answer, Half, Http1, MAX_HEAD, PartialHead, Phase, QUIET_NS, REORDERED_NS, Seen, Side, Went, finish,
    leading_line_ends, split_at,
};
use crate::exchange::{Loss, Outcome, Request, Said, Sink, StreamKind};
use crate::request_log::Values;

impl Http1 {
    pub(super) fn requests(&mut self, mut rest: &[u8], seen: Seen, sink: &mut dyn Sink) {
        while !rest.is_empty() && !self.opaque {
            match self.request.phase {
                Phase::Head => rest = self.request_head(rest, seen, sink),
                Phase::Length(left) => {
                    let (body, after) = split_at(rest, left);
                    let now = body.len() as u64;
                    self.request_moved(now, seen.at_ns);
                    rest = after;
                    if now == left {
                        self.request_ends();
                    } else {
                        self.request.phase = Phase::Length(left - now);
                    }
                }
                Phase::Chunked(mut chunks) => match chunks.feed(rest) {
                    Fed::All => {
                        self.request.phase = Phase::Chunked(chunks);
                        return self.request_moved(rest.len() as u64, seen.at_ns);
                    }
                    Fed::Ended(used) => {
                        self.request_moved(used as u64, seen.at_ns);
                        self.request_ends();
                        rest = &rest[used..];
                    }
                    Fed::Malformed => {
                        sink.lost(Loss::Malformed);
                        self.whole = false;
                        self.request.phase = Phase::unseen(false);
                    }
                },
                Phase::Upgraded => return self.upgraded(Half::Request, Went::Bytes(rest), seen, sink),
                Phase::UntilClose | Phase::Unseen { chunked: None } => {
                    return self.request_moved(rest.len() as u64, seen.at_ns);
                }
                Phase::Unseen {
                    chunked: Some(mut recent),
                } => {
                    self.request_moved(rest.len() as u64, seen.at_ns);
                    let ended = recent.push(rest, true);
                    self.request.phase = Phase::Unseen { chunked: Some(recent) };
                    if ended {
                        self.request_ends();
                        self.end_guessed = true;
                    }
                    return;
                }
                Phase::Lost => {
                    self.missed = true;
                    self.orphaned = false;
                    return self.response_turned(seen.at_ns, sink);
                }
            }
        }
    }

    /// A chunk begins: if the half is out of step, does a message begin with it?
    #[inline]
    pub(super) fn request_resumes(&mut self, bytes: &[u8], sink: &mut dyn Sink) {
        match self.request.phase {
            Phase::Lost => {
                let bytes = &bytes[leading_line_ends(bytes)..];
                // Nothing was missed of a connection that is new to us: what comes first is no rest of anything.
                let fresh = self.whole && !self.proven && head::could_be_request(bytes);
                if fresh || head::begins_like_request(bytes) {
                    self.request.phase = Phase::Head;
                    self.request.doubtful = !fresh;
                }
            }
            Phase::Head => {}
            phase => {
                let unseen = matches!(phase, Phase::Unseen { .. });
                if (unseen || self.request.doubtful)
                    && head::begins_like_request(bytes)
                    && matches!(head::request(bytes), Parsed::Complete(_))
                {
                    if unseen {
                        sink.lost(Loss::FramingUnknown);
                        // Not answered yet, so this client does not wait; others may lie in between.
                        self.missed = true;
                    }
                    self.request_ends();
                }
            }
        }
    }

    /// Reads a head at the beginning of `rest`, or the next part of one; gives what follows it.
    #[inline]
    pub(super) fn request_head<'a>(&mut self, rest: &'a [u8], seen: Seen, sink: &mut dyn Sink) -> &'a [u8] {
        let Some(mut partial) = self.request.partial.take() else {
            let rest = &rest[leading_line_ends(rest)..];
            if rest.is_empty() {
                return rest;
            }
            match head::request(rest) {
                Parsed::Complete(head) => {
                    let used = head.bytes;
                    self.opens(&head, seen, seen, false, sink);
                    return &rest[used..];
                }
                Parsed::Partial if rest.len() >= MAX_HEAD => {
                    self.request_cut(rest, seen, seen, sink);
                }
                Parsed::Partial => self.request.partial = Some(Box::new(PartialHead::new(seen, rest))),
                Parsed::Malformed => self.malformed(Half::Request, seen.at_ns, sink),
            }
            return &[];
        };
        let (used, ended) = partial.extend(rest);
        if self.request.doubtful && !head::begins_like_request(&partial.bytes) {
            self.request = Side::new(Phase::Lost);
            self.missed = true;
            self.orphaned = false;
        } else if ended {
            match head::request(&partial.bytes) {
                Parsed::Complete(head) => self.opens(&head, partial.first, seen, false, sink),
                _ => self.malformed(Half::Request, seen.at_ns, sink),
            }
        } else if partial.full() {
            self.request_cut(&partial.bytes, partial.first, seen, sink);
        } else if memchr::memchr(b'\n', &rest[..used]).is_some() && !head::could_be_request(&partial.bytes) {
            self.malformed(Half::Request, seen.at_ns, sink);
        } else {
            self.request.partial = Some(partial);
        }
        &rest[used..]
    }

    /// The rest of a head will not be seen.
    pub(super) fn request_cut(&mut self, bytes: &[u8], first: Seen, seen: Seen, sink: &mut dyn Sink) {
        match head::cut_request(bytes) {
            Some(head) => {
                sink.lost(Loss::HeadCut);
                self.opens(&head, first, seen, true, sink);
            }
            None => self.request_missed(false, seen.at_ns, sink),
        }
    }

    /// A request's head is there (`cut`: as much of it as will be): the exchange begins.
    pub(super) fn opens(&mut self, head: &RequestHead<'_>, first: Seen, seen: Seen, cut: bool, sink: &mut dyn Sink) {
        self.proven = true;
        self.response_turned(seen.at_ns, sink);
        if self.opaque {
            return;
        }
        self.settle(first.at_ns);
        if self.queue.len() >= MAX_PENDING {
            sink.lost(Loss::PipelineFull);
            self.abandon(seen.at_ns, Outcome::Unknown, sink);
            self.unsure = true;
            self.quiet_since_ns = seen.at_ns;
        }
        let target = Target::of(head.method, &head.target);
        let chosen = Values::of_lines(head.lines, sink.wants().names());
        let ticket = sink.opened(&Request {
            protocol: head.protocol,
            method: head.method,
            path: target.path,
            query: target.query,
            host: target.authority.or(head.fields.host),
            request_id: head.fields.request_id,
            said: Said {
                traceparent: head.fields.traceparent,
                chosen: chosen.all(),
                cut,
            },
            first_ns: first.at_ns,
            tgid: first.tgid,
            tid: first.tid,
        });
        let method = match head.method {
            "HEAD" => Method::Head,
            "CONNECT" => Method::Connect,
            _ => Method::Other,
        };
        let pending = Pending {
            ticket,
            method,
            holds_body: head.fields.expects_continue,
            arrival_ns: first.arrival_ns,
            first_ns: first.at_ns,
            last_ns: seen.at_ns,
            bytes: head.bytes as u64,
            stream: None,
        };
        let phase = if cut {
            Phase::unseen(head.fields.chunked)
        } else {
            self.request_framing(method, &head.fields, sink)
        };
        self.request.doubtful = false;
        self.request.phase = phase;
        self.receiving = !matches!(phase, Phase::Head | Phase::Lost);
        if self.unsure {
            self.receiving = false;
            self.quiet_since_ns = seen.at_ns;
            return finish(&pending, &Answer::default(), Outcome::Unknown, seen.at_ns, sink);
        }
        if let Some(back) = self.queue.back_mut() {
            // Both were moved by one call: nobody can have waited for an answer in between.
            self.pipelined |= back.last_ns == first.at_ns;
            self.queue.push(pending);
        } else {
            self.queue.push(pending);
            self.claim_early(first.at_ns, method, sink);
        }
    }

    /// A request begins: can its answer be told from those of requests that were missed?
    #[inline]
    pub(super) fn settle(&mut self, first_ns: u64) {
        // One that comes before that one's answer is pipelined, and others may lie in between.
        self.missed |= std::mem::take(&mut self.end_guessed) && !self.queue.is_empty();
        if self.missed {
            // One whose answer came before is none of them, if the client waits for answers.
            if self.pipelined || !self.orphaned || !self.queue.is_empty() {
                self.unsure = true;
                self.quiet_since_ns = self.quiet_since_ns.max(first_ns);
            }
            self.missed = false;
        }
        self.orphaned = false;
        if self.unsure && self.queue.is_empty() && first_ns.saturating_sub(self.quiet_since_ns) >= QUIET_NS {
            self.unsure = false;
        }
    }

    /// RFC 9112, 6.3, for requests.
    pub(super) fn request_framing(&mut self, method: Method, fields: &Fields<'_>, sink: &mut dyn Sink) -> Phase {
        if method == Method::Connect {
            // What follows is the tunnel's, unless the server refuses it.
            Phase::Lost
        } else if fields.chunked {
            Phase::Chunked(Chunked::START)
        } else if fields.transfer_encoding || fields.length_invalid {
            sink.lost(Loss::Malformed);
            self.whole = false;
            Phase::unseen(false)
        } else {
            match fields.content_length {
                None | Some(0) => Phase::Head,
                Some(length) => Phase::Length(length),
            }
        }
    }

    #[inline]
    pub(super) fn request_moved(&mut self, bytes: u64, at_ns: u64) {
        if self.receiving
            && let Some(back) = self.queue.back_mut()
        {
            back.bytes += bytes;
            back.last_ns = at_ns;
            back.holds_body = false;
        }
    }

    pub(super) fn request_ends(&mut self) {
        self.request.phase = Phase::Head;
        self.request.doubtful = false;
        self.receiving = false;
    }

    pub(super) fn request_gap(&mut self, missing: u64, lost: bool, seen: Seen, sink: &mut dyn Sink) {
        let account = |this: &mut Self, bytes: u64| {
            // When lost bytes were moved is not known; the time of the last ones seen stays.
            let last_ns = this.queue.back_mut().map_or(0, |back| back.last_ns);
            this.request_moved(bytes, if lost { last_ns } else { seen.at_ns });
        };
        match self.request.phase {
            Phase::Length(left) => {
                account(self, missing.min(left));
                if missing >= left {
                    self.request_ends();
                } else {
                    self.request.phase = Phase::Length(left - missing);
                }
                if missing > left {
                    self.request_missed(lost, seen.at_ns, sink);
                }
                return;
            }
            Phase::Chunked(mut chunks) => {
                account(self, missing);
                if chunks.skip(missing) {
                    self.request.phase = Phase::Chunked(chunks);
                    return;
                }
                self.request.phase = Phase::unseen(true);
            }
            Phase::UntilClose | Phase::Unseen { .. } => {
                account(self, missing);
                self.request.phase.forget_recent();
            }
            Phase::Head => {
                let Some(partial) = self.request.partial.take() else {
                    return self.request_missed(lost, seen.at_ns, sink);
                };
                self.request_cut(&partial.bytes, partial.first, seen, sink);
                account(self, missing);
            }
            Phase::Upgraded => return self.upgraded(Half::Request, Went::Unseen(missing), seen, sink),
            Phase::Lost => return self.request_missed(lost, seen.at_ns, sink),
        }
        // The message's end may be among what is missing, and others behind it. Where records are whole and the client
        // waits for answers, it is not: what begins like a message is captured.
        self.whole = false;
        self.missed |= lost || self.pipelined;
    }

    /// Requests went by without their heads being seen: one at least, or some if records were lost.
    pub(super) fn request_missed(&mut self, lost: bool, at_ns: u64, sink: &mut dyn Sink) {
        self.response_turned(at_ns, sink);
        if !lost && !self.missed {
            sink.lost(Loss::HeadCut);
        }
        self.whole = false;
        // What was lost is noticed late: its answer may have been there already, if that was not another's.
        self.orphaned &= lost && !self.missed;
        self.missed = true;
        self.receiving = false;
        self.request.phase = Phase::Lost;
    }

    /// A new request begins. If only one response was due, it has ended before, though its end can't be seen.
    #[inline]
    pub(super) fn response_turned(&mut self, at_ns: u64, sink: &mut dyn Sink) {
        if self.queue.len() != 1 {
            return;
        }
        if self.answer.orphan {
            if self.answer.strayed {
                sink.lost(Loss::FramingUnknown);
                self.abandon(at_ns, Outcome::Unknown, sink);
                self.answer.strayed = false;
            }
            return;
        }
        match self.response.phase {
            Phase::Unseen { .. } => {
                sink.lost(Loss::FramingUnknown);
                self.response_ends(sink);
                self.response.phase = Phase::Lost;
            }
            Phase::Lost if self.answer.strayed => {
                sink.lost(Loss::FramingUnknown);
                self.abandon(at_ns, Outcome::Unknown, sink);
                self.answer = Answer::default();
                self.strayed(at_ns, sink);
            }
            _ => {}
        }
    }

    /// The only request in flight has come. Was its answer there before?
    pub(super) fn claim_early(&mut self, first_ns: u64, method: Method, sink: &mut dyn Sink) {
        let begun = |answer: &Answer| answer.begun && answer.orphan && !answer.counted;
        let (from_start, whole) = (self.from_start, self.whole);
        let mine = |answer: &Answer| {
            let late = first_ns.saturating_sub(answer.first_ns);
            late == 0 || (from_start && whole && late <= REORDERED_NS)
        };
        if begun(&self.answer) {
            if self.early.is_none() && mine(&self.answer) {
                self.answer.orphan = false;
                if method == Method::Head {
                    self.response_ends(sink);
                } else if self.answer.event_stream {
                    self.begin_stream(StreamKind::EventStream, sink);
                }
                return;
            }
            sink.lost(Loss::ResponseWithoutRequest);
            self.answer.counted = true;
            self.response.doubtful = true;
        } else if !whole && !self.answer.begun {
            self.answer = Answer::default();
        }
        if let Some(early) = self.early.take() {
            if mine(&early) && !self.answer.begun {
                self.finish_front(&early, Outcome::Answered, early.last_ns, sink);
            } else {
                sink.lost(Loss::ResponseWithoutRequest);
            }
        }
    }
}
