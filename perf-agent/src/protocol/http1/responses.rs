//! The response half: which exchange a response answers, and where it ends.

use super::super::http2::{Http2, Stream};
use super::body::{Chunked, Fed};
use super::head::{self, Parsed, ResponseHead, Upgrade};
use super::queue::Method;
use super::{
    Answer, Half, Http1, MAX_HEAD, PartialHead, Phase, Seen, Side, Upgraded, Went, ended_of, leading_line_ends,
    split_at,
};
use crate::exchange::{Loss, Outcome, Sink, StreamKind};

impl Http1 {
    pub(super) fn responses(&mut self, mut rest: &[u8], seen: Seen, sink: &mut dyn Sink) {
        self.quiet_since_ns = seen.at_ns;
        while !rest.is_empty() && !self.opaque {
            match self.response.phase {
                Phase::Head => rest = self.response_head(rest, seen, sink),
                Phase::Length(left) => {
                    let (body, after) = split_at(rest, left);
                    let now = body.len() as u64;
                    self.answer.moved(now, seen.at_ns);
                    rest = after;
                    if now == left {
                        self.response_ends(sink);
                    } else {
                        self.response.phase = Phase::Length(left - now);
                    }
                }
                Phase::Chunked(mut chunks) => match chunks.feed(rest) {
                    Fed::All => {
                        self.response.phase = Phase::Chunked(chunks);
                        return self.answer.moved(rest.len() as u64, seen.at_ns);
                    }
                    Fed::Ended(used) => {
                        self.answer.moved(used as u64, seen.at_ns);
                        self.response_ends(sink);
                        rest = &rest[used..];
                    }
                    Fed::Malformed => {
                        sink.lost(Loss::Malformed);
                        self.response.phase = Phase::unseen(false);
                    }
                },
                Phase::Upgraded => return self.upgraded(Half::Response, Went::Bytes(rest), seen, sink),
                Phase::UntilClose | Phase::Unseen { chunked: None } => {
                    return self.answer.moved(rest.len() as u64, seen.at_ns);
                }
                Phase::Unseen {
                    chunked: Some(mut recent),
                } => {
                    self.answer.moved(rest.len() as u64, seen.at_ns);
                    let ended = recent.push(rest, true);
                    self.response.phase = Phase::Unseen { chunked: Some(recent) };
                    if ended {
                        self.response_ends(sink);
                    }
                    return;
                }
                Phase::Lost => return self.response_strayed(sink),
            }
        }
    }

    /// See [`Self::request_resumes`].
    #[inline]
    pub(super) fn response_resumes(&mut self, bytes: &[u8], seen: Seen, sink: &mut dyn Sink) {
        match self.response.phase {
            Phase::Lost if head::could_be_response(&bytes[leading_line_ends(bytes)..]) => {
                if self.answer.strayed {
                    // The answer may have gone by unread; this may be another one.
                    self.unsure |= self.queue.len() > 1;
                    self.abandon(seen.at_ns, Outcome::Unknown, sink);
                    self.answer = Answer::default();
                }
                self.response.phase = Phase::Head;
            }
            Phase::Lost | Phase::Head => {}
            _ if self.answer.orphan => self.orphan_resumes(bytes, seen, sink),
            Phase::Unseen { .. } => {
                let headless = self.answer.status == 0;
                if !(headless || self.queue.len() > 1) || !matches!(head::response(bytes), Parsed::Complete(_)) {
                    return;
                }
                if headless {
                    // It was an interim response that was missed, or the answer; then this one is another's.
                    sink.lost(Loss::FramingUnknown);
                    self.unsure |= self.queue.len() > 1;
                    self.abandon(seen.at_ns, Outcome::Unknown, sink);
                    self.answer = Answer::default();
                    self.response.phase = Phase::Head;
                } else {
                    sink.lost(Loss::FramingUnknown);
                    self.response_ends(sink);
                }
            }
            _ => {}
        }
    }

    /// See [`Self::response_resumes`]: in a response that nobody waits for. It may be one to HEAD, without the body that
    /// its head tells of, and then what comes is the answer to the next request.
    pub(super) fn orphan_resumes(&mut self, bytes: &[u8], seen: Seen, sink: &mut dyn Sink) {
        if !self.response.doubtful {
            return;
        }
        if !self.answer.strayed && head::could_be_response(bytes) {
            self.response_ends(sink);
        } else if matches!(head::response(bytes), Parsed::Complete(_)) {
            // The answer may have gone by as what was taken for the body.
            self.abandon(seen.at_ns, Outcome::Unknown, sink);
            self.response_ends(sink);
        } else {
            self.answer.strayed = !self.queue.is_empty();
        }
    }

    /// See [`Self::request_head`].
    #[inline]
    pub(super) fn response_head<'a>(&mut self, rest: &'a [u8], seen: Seen, sink: &mut dyn Sink) -> &'a [u8] {
        let Some(mut partial) = self.response.partial.take() else {
            let rest = &rest[leading_line_ends(rest)..];
            if rest.is_empty() {
                return rest;
            }
            match head::response(rest) {
                Parsed::Complete(head) => {
                    let used = head.bytes;
                    self.answers(&head, seen, seen, false, sink);
                    return &rest[used..];
                }
                Parsed::Partial if rest.len() >= MAX_HEAD => self.response_cut(rest, seen, seen, sink),
                Parsed::Partial => self.response.partial = Some(Box::new(PartialHead::new(seen, rest))),
                Parsed::Malformed => self.malformed(Half::Response, seen.at_ns, sink),
            }
            return &[];
        };
        let (used, ended) = partial.extend(rest);
        if ended {
            match head::response(&partial.bytes) {
                Parsed::Complete(head) => self.answers(&head, partial.first, seen, false, sink),
                _ => self.malformed(Half::Response, seen.at_ns, sink),
            }
        } else if partial.full() {
            self.response_cut(&partial.bytes, partial.first, seen, sink);
        } else if !head::could_be_response(&partial.bytes) {
            self.malformed(Half::Response, seen.at_ns, sink);
        } else {
            self.response.partial = Some(partial);
        }
        &rest[used..]
    }

    pub(super) fn response_cut(&mut self, bytes: &[u8], first: Seen, seen: Seen, sink: &mut dyn Sink) {
        match head::cut_response(bytes) {
            Some(head) if !head.interim() => {
                sink.lost(Loss::HeadCut);
                self.answers(&head, first, seen, true, sink);
            }
            _ => self.response_missed(bytes.len() as u64, false, first, sink),
        }
    }

    /// A response's head is there (`cut`: as much of it as will be).
    pub(super) fn answers(&mut self, head: &ResponseHead<'_>, first: Seen, seen: Seen, cut: bool, sink: &mut dyn Sink) {
        self.proven = true;
        self.answer.moved(head.bytes as u64, seen.at_ns);
        if head.interim() {
            if let Some(front) = self.queue.front_mut() {
                front.holds_body = false;
            }
            self.response.phase = Phase::Head;
            return;
        }
        self.answer.begun = true;
        self.answer.status = head.status;
        self.answer.cached = head.fields.cache.verdict(head.status);
        self.answer.first_ns = first.at_ns;
        self.answer.tid = first.tid;
        self.answer.orphan = self.queue.is_empty();
        self.orphaned |= self.answer.orphan;
        self.request_turned(sink);
        let only = self.queue.len() == 1;
        let method = self.queue.front_mut().map_or(Method::Other, |front| {
            if only && front.holds_body {
                // The answer came instead of `100 Continue`; the body may never come (RFC 9110, 10.1.1).
                self.request.doubtful = true;
            }
            front.method
        });
        let tunnel = method == Method::Connect && (200..300).contains(&head.status);
        if head.status == 101 || tunnel {
            return self.upgrade(head, seen.at_ns, sink);
        }
        self.response.doubtful = false;
        self.response.phase = if cut {
            Phase::unseen(head.fields.chunked)
        } else {
            response_framing(method, head, sink)
        };
        if self.response.phase == Phase::Head {
            self.response_ends(sink);
        } else if head.fields.event_stream && (200..300).contains(&head.status) {
            self.answer.event_stream = true;
            if !self.answer.orphan {
                self.begin_stream(StreamKind::EventStream, sink);
            }
        }
    }

    /// The answer has no end that one would wait for: the exchange ends with its head, and a stream begins.
    pub(super) fn begin_stream(&mut self, kind: StreamKind, sink: &mut dyn Sink) {
        let Some(front) = self.queue.front_mut() else { return };
        let ended = ended_of(front, &self.answer, Outcome::Answered, self.answer.last_ns, Some(kind));
        sink.ended(front.ticket, &ended);
        front.stream = Some(Box::new([front.bytes, self.answer.bytes]));
    }

    /// What follows is another protocol's.
    fn upgrade(&mut self, head: &ResponseHead<'_>, at_ns: u64, sink: &mut dyn Sink) {
        let kind = match head.fields.upgrade {
            _ if head.status != 101 => StreamKind::Tunnel,
            Some(Upgrade::WebSocket) => StreamKind::WebSocket,
            _ => StreamKind::Upgrade,
        };
        if self.answer.orphan {
            self.response_ends(sink);
            self.forget_early(sink);
            self.opaque = true;
            return;
        }
        let http2 = head.status == 101 && head.fields.upgrade == Some(Upgrade::Http2);
        if let Some(pending) = self.queue.pop() {
            if http2 {
                let first = ended_of(&pending, &self.answer, Outcome::Answered, self.answer.last_ns, None);
                let mut times = first.times;
                times.response_first_ns = None;
                let stream = Stream::upgraded(pending.ticket, times, first.request_bytes, first.response_bytes);
                self.next = Some(Box::new(Http2::upgraded(stream)));
                self.answer = Answer::default();
                return self.become_upgraded(at_ns, sink);
            }
            let ended = ended_of(
                &pending,
                &self.answer,
                Outcome::Answered,
                self.answer.last_ns,
                Some(kind),
            );
            sink.ended(pending.ticket, &ended);
            self.upgraded = Some(Box::new(Upgraded::new(pending.ticket, kind)));
        }
        self.answer = Answer::default();
        self.become_upgraded(at_ns, sink);
    }

    fn become_upgraded(&mut self, at_ns: u64, sink: &mut dyn Sink) {
        self.abandon(at_ns, Outcome::Unknown, sink);
        self.forget_early(sink);
        self.answer = Answer::default();
        self.request = Side::new(Phase::Upgraded);
        self.response = Side::new(Phase::Upgraded);
    }

    /// Bytes went by that can't be read; they may be the answer.
    pub(super) fn response_strayed(&mut self, sink: &mut dyn Sink) {
        self.answer.strayed = !self.queue.is_empty();
        self.request_turned(sink);
    }

    /// A response begins. If only one request was sent, it has ended before, though its end can't be seen.
    #[inline]
    pub(super) fn request_turned(&mut self, sink: &mut dyn Sink) {
        if self.receiving && self.queue.len() == 1 && matches!(self.request.phase, Phase::Unseen { .. }) {
            sink.lost(Loss::FramingUnknown);
            self.receiving = false;
            self.request.phase = Phase::Lost;
        }
    }

    /// The response is complete, or has ended as far as can be told.
    pub(super) fn response_ends(&mut self, sink: &mut dyn Sink) {
        let answer = std::mem::take(&mut self.answer);
        self.response.phase = Phase::Head;
        self.response.doubtful = false;
        if !answer.begun {
            return;
        }
        if answer.orphan {
            if !answer.counted && self.early.replace(Box::new(answer)).is_some() {
                sink.lost(Loss::ResponseWithoutRequest);
            }
            return;
        }
        let outcome = if answer.status == 0 || answer.end_lost {
            Outcome::Unknown
        } else {
            Outcome::Answered
        };
        self.finish_front(&answer, outcome, answer.last_ns, sink);
    }

    pub(super) fn response_gap(&mut self, missing: u64, lost: bool, seen: Seen, sink: &mut dyn Sink) {
        let account = |this: &mut Self, bytes: u64| {
            if lost {
                this.answer.bytes += bytes;
                this.answer.end_lost = true;
            } else {
                this.answer.moved(bytes, seen.at_ns);
                this.quiet_since_ns = seen.at_ns;
            }
        };
        if self.answer.orphan && self.response.doubtful {
            self.answer.strayed |= !self.queue.is_empty();
        }
        match self.response.phase {
            Phase::Length(left) => {
                account(self, missing.min(left));
                if missing >= left {
                    self.response_ends(sink);
                } else {
                    self.response.phase = Phase::Length(left - missing);
                }
                if missing > left {
                    self.response_missed(missing - left, lost, seen, sink);
                }
                return;
            }
            Phase::Chunked(mut chunks) => {
                account(self, missing);
                if chunks.skip(missing) {
                    self.response.phase = Phase::Chunked(chunks);
                    return;
                }
                self.response.phase = Phase::unseen(true);
            }
            Phase::UntilClose => return account(self, missing),
            Phase::Upgraded => return self.upgraded(Half::Response, Went::Unseen(missing), seen, sink),
            Phase::Unseen { .. } => {
                account(self, missing);
                self.response.phase.forget_recent();
            }
            Phase::Head => {
                let Some(partial) = self.response.partial.take() else {
                    return self.response_missed(missing, lost, seen, sink);
                };
                self.response_cut(&partial.bytes, partial.first, seen, sink);
                if self.response.phase == Phase::Lost {
                    return;
                }
                account(self, missing);
            }
            Phase::Lost => self.response_strayed(sink),
        }
        if self.queue.len() > 1 {
            // Its end may be among what is missing, and other answers too.
            self.response_missed(0, lost, seen, sink);
        }
    }

    /// Responses went by without their heads being seen: one at least, or some if records were lost.
    pub(super) fn response_missed(&mut self, bytes: u64, lost: bool, seen: Seen, sink: &mut dyn Sink) {
        if !lost {
            sink.lost(Loss::HeadCut);
        }
        if self.queue.len() == 1 && !lost {
            self.request_turned(sink);
            self.answer.begun = true;
            self.answer.first_ns = seen.at_ns;
            self.answer.tid = seen.tid;
            self.answer.moved(bytes, seen.at_ns);
            self.response.phase = Phase::unseen(false);
            return;
        }
        self.orphaned = true;
        self.whole = false;
        if !lost {
            self.unsure |= self.queue.len() > 1;
        } else if self.pipelined {
            self.unsure |= !self.queue.is_empty();
        } else {
            // A client that waits for answers has had all but the last one: no more are due than follow.
            self.unsure = false;
        }
        self.abandon(seen.at_ns, Outcome::Unknown, sink);
        self.answer = Answer::default();
        self.response = Side::new(Phase::Lost);
    }
}

/// RFC 9112, 6.3, for responses. [`Phase::Head`] if there is no body.
fn response_framing(method: Method, head: &ResponseHead<'_>, sink: &mut dyn Sink) -> Phase {
    let fields = &head.fields;
    if method == Method::Head || matches!(head.status, 204 | 304) {
        Phase::Head
    } else if fields.chunked {
        Phase::Chunked(Chunked::START)
    } else if fields.transfer_encoding {
        Phase::UntilClose
    } else if fields.length_invalid {
        sink.lost(Loss::Malformed);
        Phase::unseen(false)
    } else {
        match fields.content_length {
            Some(0) => Phase::Head,
            Some(length) => Phase::Length(length),
            None => Phase::UntilClose,
        }
    }
}
