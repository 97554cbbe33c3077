//! Loops that run what they read at once: what they say between two reads follows from what they read last.
//!
//! So it is in Node, and in most programs that call back. It shows in the answers: they go out before the loop reads again.
//! Of such a loop more is believed than of others:
//!
//! - A call is for the request that the newest read was about, whatever was read before and waits.
//! - A read may be about several requests: answers on a connection that is shared. They are dealt with in their order. What
//!   was said until the next read is divided among them once the loop has turned, see [`super::chains`].
//! - A client may keep back the calls on a connection that it shares, and write them together when the loop has dealt with
//!   all that it read in this turn: then they are of those that have said nothing else, in their order.

use std::collections::VecDeque;

use super::chains::{Chains, MEMBERS, Possible, UNKNOWN, Way, is_chain};
use super::{Attribution, Cause, Inbound, Line, ONE_TURN_NS, Outbound, Requests, Served, Task};

/// An answer before the next read speaks for a loop that runs what it reads at once, one that comes later against it, so
/// many times as much. While there is no more against it than for it, it is believed.
const AGAINST: i8 = 8;
/// More than that is not remembered.
const SURE: i8 = 64;
/// Reads in one turn of a loop that are told apart.
const READS: usize = 128;
/// What one of them is about, and what is said then.
const MESSAGES: usize = 64;
/// Reads of earlier turns that are remembered.
const PAST: usize = 512;
/// Requests that wait for something that is not seen.
const STALLED: usize = MEMBERS - 1;
/// A loop that was idle for so long has turned, whatever it reads next.
const IDLE_NS: u64 = 100_000_000;

/// What a loop reads and says in one turn.
#[derive(Debug, Default)]
pub(super) struct Turn {
    reads: Vec<Read>,
    /// Calls that may have been kept back, in their order.
    kept_back: Vec<(Outbound, u32)>,
    /// Those that said nothing in an earlier turn: they wait for something that is not seen.
    stalled: Vec<Inbound>,
    /// How much speaks for it that it runs what it reads at once.
    at_once: i8,
    /// Earlier reads: when, the group that they are in, and which of its members they were about that said nothing.
    past: VecDeque<(u64, u64, u64)>,
    /// Connections on which calls were made.
    wrote: Vec<u64>,
    /// When it was last seen to do something.
    active_ns: u64,
    pub(super) chains: Chains,
}

#[derive(Debug, Default)]
struct Read {
    at_ns: u64,
    connection: u64,
    /// What it was about, in its order.
    about: Vec<Inbound>,
    /// Calls since then that are to be divided among them, and whom they go to.
    calls: Vec<(Outbound, Way)>,
    /// Requests that were answered.
    answered: Vec<Inbound>,
    /// The one that it was about has made a call.
    called: bool,
}

impl Read {
    /// How many of those that it was about have said nothing yet.
    fn silent(&self) -> usize {
        let said = self.calls.len() + self.answered.len() + usize::from(self.called);
        self.about.len().saturating_sub(said)
    }
}

impl Turn {
    /// The loop runs what it reads at once.
    pub(super) fn is_at_once(&self) -> bool {
        self.at_once >= 0
    }

    /// It has turned before it reads this.
    fn is_over(&self, connection: u64, at_ns: u64) -> bool {
        self.reads.last().is_some_and(|read| read.at_ns != at_ns)
            && (!self.kept_back.is_empty()
                || self.reads.len() >= READS
                || at_ns.saturating_sub(self.active_ns) >= IDLE_NS
                || self.wrote.contains(&connection))
    }

    /// It reads something about this one.
    fn reads(&mut self, about: Inbound, connection: u64, at_ns: u64) {
        self.active_ns = self.active_ns.max(at_ns);
        self.stalled.retain(|stalled| *stalled != about);
        if self.reads.last().is_none_or(|read| read.at_ns != at_ns) {
            self.reads.push(Read {
                at_ns,
                connection,
                ..Read::default()
            });
        }
        if let Some(read) = self.reads.last_mut().filter(|read| read.about.len() < MESSAGES) {
            read.about.push(about);
        }
    }

    /// A request was answered; calls of it may be known to nobody. Gives the chain that was the request's.
    fn answered(&mut self, inbound: Inbound, served: &Served) -> Option<Inbound> {
        self.stalled.retain(|stalled| *stalled != inbound);
        let (newest, earlier) = self.reads.split_last_mut()?;
        if newest.about.iter().any(|about| self.chains.resolved(*about) == inbound) {
            newest.answered.push(inbound);
            self.at_once = self.at_once.saturating_add(1).min(SURE);
            return None;
        }
        if served.outstanding == 0
            && let Some(chain) = self.chains.only_possible(&newest.about, inbound)
        {
            newest.answered.push(inbound);
            self.at_once = self.at_once.saturating_add(1).min(SURE);
            return Some(chain);
        }
        let silent = |read: &Read| read.silent() > 0 && read.about.contains(&inbound);
        let is_known = |about: &Inbound| !is_chain(self.chains.resolved(*about)) && *about != UNKNOWN;
        let is_clear = served.outstanding == 0 && served.ambiguous == 0 && newest.about.iter().all(is_known);
        if is_clear && self.kept_back.is_empty() && earlier.iter().any(silent) {
            self.at_once = self.at_once.saturating_sub(AGAINST).max(-SURE);
        } else if served.outstanding == 0 && newest.about.len() > 1 && newest.answered.len() < MESSAGES {
            newest.answered.push(inbound);
        }
        None
    }

    /// A call goes out on a connection that its process began to make at this moment: it is for what was read before that,
    /// if anything was.
    fn calls_connected(&mut self, call: Outbound, began_ns: u64, requests: &mut impl Requests) -> Option<Cause> {
        let mut reads = self.reads.iter_mut().rev();
        if let Some(read) = reads.find(|read| read.at_ns <= began_ns && read.silent() > 0) {
            if let ([one], true) = (&read.about[..], read.calls.is_empty()) {
                let one = self.chains.resolved(*one);
                read.called = true;
                let Some(served) = self.chains.served(one, requests) else {
                    return Some(Cause::Unknown);
                };
                served.outstanding += 1;
                return Some(Cause::Request(one));
            }
            read.calls.push((call, Way::Connected));
            return Some(Cause::Undecided);
        }
        let mut past = self.past.iter().rev();
        let &(_, group, places) = past.find(|(at_ns, ..)| *at_ns <= began_ns)?;
        let chain = self.chains.begin(call);
        if places == 0 {
            let group = self.chains.group_of(&self.stalled, false);
            self.chains
                .said(group, Way::Connected, chain, places_from(0, self.stalled.len()));
        } else {
            self.chains.said(group, Way::Connected, chain, places);
            self.chains.has_spoken(group, requests);
        }
        Some(Cause::Request(self.chains.resolved(chain)))
    }

    pub(super) fn heap_bytes(&self) -> usize {
        let of_read = |read: &Read| {
            (read.about.capacity() + read.answered.capacity()) * size_of::<Inbound>()
                + read.calls.capacity() * size_of::<(Outbound, Way)>()
        };
        self.reads.capacity() * size_of::<Read>()
            + self.reads.iter().map(of_read).sum::<usize>()
            + self.kept_back.capacity() * size_of::<(Outbound, u32)>()
            + self.stalled.capacity() * size_of::<Inbound>()
            + self.past.capacity() * size_of::<(u64, u64, u64)>()
            + self.wrote.capacity() * size_of::<u64>()
            + self.chains.heap_bytes()
    }
}

/// So many places from one on.
fn places_from(first: usize, count: usize) -> u64 {
    let below = |place: usize| {
        u32::try_from(place)
            .ok()
            .and_then(|place| 1u64.checked_shl(place))
            .unwrap_or(0)
            .wrapping_sub(1)
    };
    below(first + count) & !below(first)
}

impl Attribution {
    /// A thread reads something about a request; `None` if it is not known which one.
    pub(super) fn reads(
        &mut self,
        task: Task,
        about: Option<Inbound>,
        connection: u64,
        at_ns: u64,
        requests: &mut impl Requests,
    ) {
        let Some(work) = self.tasks.get_mut(&task) else { return };
        let turn = work.order.get_or_insert_default();
        let about = about.map_or(UNKNOWN, |about| turn.chains.resolved(about));
        if turn.is_over(connection, at_ns) {
            self.turned(task, requests);
        }
        if let Some(turn) = self.turn(task) {
            turn.reads(about, connection, at_ns);
        }
    }

    /// A loop that runs what it reads at once makes a call. For whom?
    pub(super) fn calls_at_once(
        &mut self,
        task: Task,
        (call, on): (Outbound, Line),
        at_ns: u64,
        requests: &mut impl Requests,
    ) -> Cause {
        let Some(turn) = self.turn(task) else {
            return Cause::Unknown;
        };
        let is_woken = at_ns.saturating_sub(turn.active_ns) >= ONE_TURN_NS;
        turn.active_ns = turn.active_ns.max(at_ns);
        if turn.wrote.len() < READS && !turn.wrote.contains(&on.connection) {
            turn.wrote.push(on.connection);
        }
        if let Some(began_ns) = on.connected_ns
            && turn.reads.last().is_some_and(|newest| newest.at_ns > began_ns)
            && let Some(cause) = turn.calls_connected(call, began_ns, requests)
        {
            let found = turn.chains.take_found();
            self.found(task, found);
            return cause;
        }
        let Some((newest, earlier)) = turn.reads.split_last_mut() else {
            return Cause::Unknown;
        };
        if on.is_shared && (newest.about.len() > 1 || earlier.iter().any(|read| read.silent() > 0)) {
            if turn.kept_back.len() >= MESSAGES {
                return Cause::Ambiguous;
            }
            turn.kept_back.push((call, on.peer));
            return Cause::Undecided;
        }
        let one = match newest.about[..] {
            [one] => one,
            _ if newest.calls.len() >= MESSAGES => return Cause::Ambiguous,
            _ => {
                newest.calls.push((call, Way::Call(on.peer)));
                return Cause::Undecided;
            }
        };
        let one = turn.chains.resolved(one);
        // One that waited for the connection, or for something that is not seen, may have gone on.
        let again = on.connection != 0 && on.connection == newest.connection;
        let spoke = newest.silent() == 0;
        if (again || is_woken && spoke) && !turn.stalled.is_empty() {
            newest.called = true;
            let chain = turn.chains.begin(call);
            let may = [&[one][..], &turn.stalled].concat();
            let group = turn.chains.group_of(&may, false);
            turn.chains
                .said(group, Way::Call(on.peer), chain, places_from(0, may.len()));
            return Cause::Request(chain);
        }
        let Some(served) = turn.chains.served(one, requests) else {
            return Cause::Unknown;
        };
        newest.called = true;
        served.outstanding += 1;
        Cause::Request(one)
    }

    /// A loop has turned: whose calls were those of which that is not decided?
    pub fn turned(&mut self, task: Task, requests: &mut impl Requests) {
        let Some(turn) = self.turn(task) else { return };
        let kept_back = std::mem::take(&mut turn.kept_back);
        let mut reads = std::mem::take(&mut turn.reads);
        let mut members = Vec::new();
        let mut said = Vec::new();
        for read in &reads {
            if let [_] = read.about[..]
                && read.silent() == 0
            {
                turn.past.push_back((read.at_ns, 0, 0));
                continue;
            }
            let places = places_from(members.len(), read.about.len());
            members.extend_from_slice(&read.about);
            said.extend(
                read.answered
                    .iter()
                    .map(|answered| (Way::Answer, None, *answered, places)),
            );
            let calls = read.calls.iter();
            said.extend(calls.map(|(call, way)| (*way, Some(*call), turn.chains.begin(*call), places)));
            turn.past.push_back((read.at_ns, 0, places));
        }
        let is_strict = members.len() <= MEMBERS && said.len() + kept_back.len() <= members.len();
        if !is_strict {
            // More was said than there are to say it: of earlier turns, or some spoke more than once.
            members.insert(0, UNKNOWN);
            for (.., places) in &mut said {
                *places = *places << 1 | 1;
            }
            turn.past
                .iter_mut()
                .rev()
                .take(reads.len())
                .for_each(|(.., places)| *places <<= 1);
        }
        let all = places_from(0, members.len());
        let calls = kept_back.iter();
        said.extend(calls.map(|(call, peer)| (Way::KeptBack(*peer), Some(*call), turn.chains.begin(*call), all)));
        if !members.is_empty() {
            let group = turn.chains.group_of(&members, is_strict);
            let newest = turn.past.iter_mut().rev().take(reads.len());
            newest.for_each(|(_, of, _)| *of = group);
            for (way, _, what, places) in &said {
                turn.chains.said(group, *way, *what, *places);
            }
            turn.chains.has_spoken(group, requests);
            for (_, call, chain, _) in &said {
                if let Some(call) = call {
                    requests.decided(*call, Cause::Request(turn.chains.resolved(*chain)));
                }
            }
            if said.len() < members.len() {
                turn.stalled
                    .extend(members.iter().take(STALLED.saturating_sub(turn.stalled.len())));
            }
        }
        let excess = turn.past.len().saturating_sub(PAST);
        turn.past.drain(..excess);
        let Turn { stalled, chains, .. } = &mut *turn;
        stalled.retain(|stalled| {
            chains
                .served(*stalled, requests)
                .is_some_and(|served| served.outstanding == 0)
        });
        reads.clear();
        turn.reads = reads;
        turn.wrote.clear();
        let found = turn.chains.take_found();
        self.found(task, found);
    }

    /// What may be the request's, which this thread has answered, of that of which it is not known whose it is.
    pub fn possible(&self, task: Task, inbound: Inbound) -> Possible {
        let turn = self.tasks.get(&task).and_then(|work| work.order.as_deref());
        turn.map(|turn| turn.chains.possible(inbound)).unwrap_or_default()
    }

    /// What a thread reads and says; `None` of one that has read nothing.
    fn turn(&mut self, task: Task) -> Option<&mut Turn> {
        self.tasks.get_mut(&task)?.order.as_deref_mut()
    }

    /// So many calls that had been ambiguous are a request's.
    fn found(&mut self, task: Task, calls: u64) {
        self.account.ambiguous = self.account.ambiguous.saturating_sub(calls);
        self.attributed(task.tgid, calls);
    }

    /// A thread has answered a request: whose calls are known by that?
    pub(super) fn has_answered(
        &mut self,
        task: Task,
        inbound: Inbound,
        served: &mut Served,
        requests: &mut impl Requests,
    ) {
        let Some(turn) = self.turn(task) else { return };
        if let Some(chain) = turn.answered(inbound, served) {
            turn.chains.belongs(chain, inbound, served, requests);
        }
        let found = turn.chains.take_found();
        self.found(task, found);
    }
}
