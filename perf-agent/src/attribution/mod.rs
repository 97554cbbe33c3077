//! Attribution: which request of a server caused which calls of its process to others.
//!
//! A record says who moved its bytes: a thread, or what runs on it by turns and has an identity of its own (a goroutine, a
//! coroutine). Here both are a [`Task`]. It needs no knowledge of a program beyond that:
//!
//! - A task works for whom it heard of last: a request that it received, or the answer to a call, which belongs to the
//!   request that the call was made for. A call that it makes then is that request's. So it is in servers of threads and
//!   processes, where a task hears of one request at a time, and in event loops that run what they read at once.
//! - Who sends the answer to a request has worked for it: calls that it made since the request came, for whom was not known
//!   then, are that request's. So it is with goroutines and coroutines that are started for a request that another one read,
//!   and with threads of a pool.
//! - Where a runtime is seen to hand over (a coroutine that is started, a goroutine that sends what another one asks), who
//!   takes over works for whom the other one works. If that is not known yet, what the one did is the other's, once the
//!   other answers.
//! - A loop that runs what it reads at once says what follows from it before it reads again, and in the order of what it
//!   read: [`order`]. What that leaves open is kept as [`chains`] of calls, until it shows whose they were.
//!
//! Where more than one request could be the one, nothing is guessed: the call is *ambiguous*. That is so if a loop read
//! several messages before it said anything; or if a call goes out on the connection on which an answer came just now, while
//! another request waits for something that is not seen, which may be that connection; or if a loop has several requests
//! open, and calls on a connection that it shares among them. What no request is known for is
//! *unattributed*: calls behind the answer, of timers, of threads that were handed their work unseen.

mod chains;
mod functions;
mod order;
mod parts;
#[cfg(test)]
mod tests;

use hashbrown::HashMap;

pub use self::chains::Possible;
pub use self::functions::{Invocation, Invoked};
use self::order::Turn;
pub use self::parts::{Call, Share, Shares, Spent};
use crate::exchange::Ticket;

/// Tasks of which is kept for whom they work; beyond, those that were idle for longest are forgotten.
const TASKS: usize = 65_536;
/// A loop that neither reads nor writes for so long has turned: what it read before, it has dealt with.
const ONE_TURN_NS: u64 = 1_000_000;
/// Requests that a loop read in one turn and that are told apart.
const TURN: usize = 32;
/// Tasks with calls of their own that took over from one and that are kept; the oldest go first.
const CHILDREN: usize = 64;
/// Generations that are asked for their calls when one answers.
const GENERATIONS: u32 = 4;
/// Processes of which is kept how much is known of their calls.
const PROCESSES: usize = 4096;
/// A process is puzzling from so many calls on of which it is not known for whom, if they are one of so many.
const PUZZLING: u64 = 32;
/// See [`PUZZLING`].
const PUZZLING_OF: u64 = 10;
/// Calls of one request, or of a task of which it is not known for whom, that are kept; the rest is in the account only.
const CALLS: usize = 1024;

/// Who moves bytes: a thread, or what runs on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Task {
    /// Its process.
    pub tgid: u32,
    /// As in [`crate::event::Segment::tid`].
    pub tid: u32,
}

impl Task {
    /// A thread; else a goroutine or a coroutine.
    fn is_thread(self) -> bool {
        self.tid & perf_common::record::TASK == 0
    }
}

/// A request that its process has received, and whose answer it owes: its ticket, and a number that no other one has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inbound {
    /// Tickets are given out again.
    pub ticket: Ticket,
    /// Which of those who had it.
    pub serial: u64,
}

/// A call that its process makes, likewise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outbound {
    /// Tickets are given out again.
    pub ticket: Ticket,
    /// Which of those who had it.
    pub serial: u64,
}

/// For whom a call was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// For this request, or for one that is called so until it is known.
    Request(Inbound),
    /// That is decided when its loop has turned.
    Undecided,
    /// For one of several.
    Ambiguous,
    /// Nothing is known, yet.
    Unknown,
}

/// Calls, by what is known of their cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Calls that ended, of processes that serve requests.
    pub calls: u64,
    /// Of them, those of one request.
    pub attributed: u64,
    /// Of them, those of one of several.
    pub ambiguous: u64,
}

impl Account {
    /// Of them, those of which nothing is known.
    pub fn unattributed(&self) -> u64 {
        self.calls.saturating_sub(self.attributed + self.ambiguous)
    }
}

/// Where a call goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// The connection's id.
    pub connection: u64,
    /// Several calls were in flight on it at once: a client that shares it among requests may write what they ask for
    /// later, and together.
    pub is_shared: bool,
    /// Whom it goes to: a number of the same meaning for all calls of a process.
    pub peer: u32,
    /// Of the first call on a connection that the process made: when it began to connect.
    pub connected_ns: Option<u64>,
}

/// How much is known of a process's calls.
#[derive(Debug, Default)]
struct Known {
    /// It receives requests.
    serves: bool,
    /// Calls that ended.
    calls: u64,
    /// Of them, those of one request.
    attributed: u64,
    /// It was told that it is puzzling.
    told: bool,
}

/// What a task is at.
#[derive(Debug, Default)]
struct Work {
    /// Which one it is of those that had this name.
    birth: u64,
    /// For whom it works.
    current: Option<Inbound>,
    /// It has said something since it heard of that.
    spoke: bool,
    /// When it was last seen to do something.
    active_ns: u64,
    /// The connection on which it heard an answer; 0 for a request.
    heard_on: u64,
    /// Others that it heard of in the same turn: it may not have said yet what follows from that.
    turn: Vec<Inbound>,
    /// Of a thread that has read something: what it read and said in this turn, if it is a loop.
    order: Option<Box<Turn>>,
    /// Requests that it received and that wait for something that is not seen.
    stalled: u32,
    /// It has received requests itself.
    receives: bool,
    /// Of them, those that are not answered yet.
    open: u32,
    /// Calls of which it is not known for whom it made them.
    calls: Vec<Call>,
    /// The task that it took over from while it was not known for whom that one works, and its birth.
    parent: Option<(Task, u64)>,
    /// Tasks that took over from it in this way and made calls, likewise.
    children: Vec<(Task, u64)>,
    /// Invocations of chosen functions, likewise.
    invocations: Vec<Invocation>,
}

/// What is known of a request that is being served.
#[derive(Debug, Default)]
pub struct Served {
    /// Its calls that ended.
    calls: Vec<Call>,
    /// Calls that have not ended.
    outstanding: u32,
    /// It waits for something that is not seen; in the count of this task.
    stalled: Option<Task>,
    /// Who received it, and counts it as open.
    receiver: Option<Task>,
    /// Calls that may have been its own.
    ambiguous: u32,
    /// Its invocations of chosen functions, summed.
    invoked: Vec<Invoked>,
}

/// What [`Attribution`] asks of the table of open exchanges.
pub trait Requests {
    /// A request that is being served; `None` if it was answered.
    fn served(&mut self, inbound: Inbound) -> Option<&mut Served>;
    /// One that was answered and is not settled, see [`Attribution::possible`].
    fn answered(&mut self, inbound: Inbound) -> Option<&mut Served>;
    /// For whom a call under way was made is known now.
    fn decided(&mut self, call: Outbound, cause: Cause);
}

/// Who works for whom.
#[derive(Debug, Default)]
pub struct Attribution {
    tasks: HashMap<Task, Work>,
    /// Processes that make calls.
    callers: ProcessSet,
    /// Processes that receive requests.
    servers: ProcessSet,
    processes: HashMap<u32, Known>,
    births: u64,
    /// Every process is followed.
    all: bool,
    account: Account,
}

/// Processes, by a hash of their numbers, so that others cost next to nothing. There may be some more.
#[derive(Debug)]
struct ProcessSet([u64; 64]);

impl Default for ProcessSet {
    fn default() -> Self {
        Self([0; 64])
    }
}

impl ProcessSet {
    fn place(tgid: u32) -> (usize, u64) {
        let hash = tgid.wrapping_mul(0x9e37_79b9) >> 20;
        ((hash >> 6) as usize, 1 << (hash & 63))
    }

    fn has(&self, tgid: u32) -> bool {
        let (word, bit) = Self::place(tgid);
        self.0[word] & bit != 0
    }

    fn add(&mut self, tgid: u32) {
        let (word, bit) = Self::place(tgid);
        self.0[word] |= bit;
    }
}

impl Attribution {
    /// The books.
    pub fn account(&self) -> Account {
        self.account
    }

    /// Heap bytes held.
    pub fn heap_bytes(&self) -> usize {
        let held = |work: &Work| {
            work.calls.capacity() * size_of::<Call>()
                + work.invocations.capacity() * size_of::<Invocation>()
                + work.children.capacity() * size_of::<(Task, u64)>()
                + work.turn.capacity() * size_of::<Inbound>()
                + work.order.as_deref().map_or(0, Turn::heap_bytes)
        };
        self.tasks.allocation_size() + self.processes.allocation_size() + self.tasks.values().map(held).sum::<usize>()
    }

    /// Processes that serve requests and of whose calls it is not known, of too many, for whom they are made. Each is told
    /// once.
    pub fn puzzling(&mut self) -> Vec<u32> {
        let processes = self.processes.iter_mut();
        processes
            .filter_map(|(tgid, known)| {
                let lost = known.calls - known.attributed;
                let puzzling = known.serves && lost >= PUZZLING && lost * PUZZLING_OF >= known.calls;
                (puzzling && !std::mem::replace(&mut known.told, puzzling)).then_some(*tgid)
            })
            .collect()
    }

    /// A process ended or runs another program.
    pub fn exited(&mut self, tgid: u32) {
        if self.follows(tgid) {
            self.tasks.retain(|task, _| task.tgid != tgid);
            self.processes.remove(&tgid);
        }
    }

    /// A task received a request.
    #[inline]
    pub fn received(&mut self, task: Task, inbound: Inbound, at_ns: u64, requests: &mut impl Requests) {
        self.servers.add(task.tgid);
        if self.follows(task.tgid) {
            let received_before = std::mem::replace(&mut self.work(task).receives, true);
            let work = self.heard(task, Some(inbound), 0, at_ns, requests);
            work.open += 1;
            if let Some(served) = requests.served(inbound) {
                served.receiver = Some(task);
            }
            if !received_before && let Some(known) = self.known(task.tgid) {
                known.serves = true;
            }
        }
    }

    /// A task hands over to another one, which begins to work for whom it works.
    pub fn handed_over(&mut self, from: Task, to: Task, at_ns: u64, requests: &mut impl Requests) {
        if !self.follows(from.tgid) || from == to {
            return;
        }
        self.births += 1;
        let birth = self.births;
        let work = self.work(from);
        work.active_ns = work.active_ns.max(at_ns);
        // A loop that reads for many begets as well what has nothing to do with what it read last.
        let current = work.current.filter(|_| work.turn.is_empty() && work.open <= 1);
        let current = current.filter(|current| requests.served(*current).is_some());
        let parent = current.is_none().then_some((from, work.birth));
        let begotten = Work {
            birth,
            current,
            parent,
            active_ns: at_ns,
            ..Work::default()
        };
        let before = std::mem::replace(self.work(to), begotten);
        // One is gone that had this name, and what it did is its parent's affair.
        if let Some((parent, parent_birth)) = before.parent
            && let Some(work) = self.tasks.get_mut(&parent).filter(|work| work.birth == parent_birth)
        {
            work.keep(before.calls);
            for invocation in before.invocations {
                work.keep_invocation(parent, invocation);
            }
            work.children.retain(|child| *child != (to, before.birth));
            for child in before.children {
                work.add_child(child);
            }
        }
    }

    /// A task asks another program, on this connection. Whose call is it?
    pub fn calls(
        &mut self,
        task: Task,
        (call, on): (Outbound, Line),
        at_ns: u64,
        requests: &mut impl Requests,
    ) -> Cause {
        self.callers.add(task.tgid);
        if !self.serves(task.tgid) {
            return Cause::Unknown;
        }
        let Some(work) = self.tasks.get_mut(&task) else {
            return Cause::Unknown;
        };
        if work.receives && work.order.as_ref().is_some_and(|turn| turn.is_at_once()) {
            return self.calls_at_once(task, (call, on), at_ns, requests);
        }
        work.age(task, at_ns, requests);
        let mut turn = std::mem::take(&mut work.turn);
        let current = work.current.filter(|current| requests.served(*current).is_some());
        // Where the newest was answered already, one that is left of its turn is the one.
        let Some(inbound) = current.or_else(|| turn.pop().filter(|_| turn.is_empty())) else {
            return Cause::Unknown;
        };
        let stalled = work.stalled;
        let again = on.connection != 0 && on.connection == work.heard_on;
        let later = on.is_shared && task.is_thread() && work.open > 1;
        let Some(served) = requests.served(inbound) else {
            return Cause::Unknown;
        };
        if turn.is_empty() && !later && !(again && stalled > u32::from(served.stalled == Some(task))) {
            work.spoke = true;
            served.outstanding += 1;
            self.goes_on(served);
            return Cause::Request(inbound);
        }
        served.ambiguous += 1;
        for other in &turn {
            if let Some(served) = requests.served(*other) {
                served.ambiguous += 1;
            }
        }
        if let Some(work) = self.tasks.get_mut(&task) {
            work.spoke = true;
            work.turn = turn;
        }
        Cause::Ambiguous
    }

    /// A call ended. `asker` is who asked; `hearer` moved the answer on this connection, if there was one.
    pub fn called(
        &mut self,
        (asker, hearer): (Task, Option<Task>),
        cause: Cause,
        connection: u64,
        call: Call,
        requests: &mut impl Requests,
    ) {
        if !self.serves(asker.tgid) {
            return;
        }
        self.account.calls += 1;
        if let Some(known) = self.known(asker.tgid) {
            known.calls += 1;
        }
        let mut owner = None;
        match cause {
            Cause::Request(inbound) => {
                let (inbound, served) = self.owner(asker, inbound, requests);
                if let Some(served) = served {
                    served.outstanding = served.outstanding.saturating_sub(1);
                    served.add(call);
                    owner = Some(inbound);
                }
                if chains::is_chain(inbound) {
                    self.account.ambiguous += 1;
                } else if owner.is_some() {
                    self.attributed(asker.tgid, 1);
                }
            }
            Cause::Ambiguous | Cause::Undecided => self.account.ambiguous += 1,
            Cause::Unknown => {
                self.tell_ancestors(asker);
                self.work(asker).keep([call]);
            }
        }
        // A coroutine's answers are read by others, whose business they are not.
        if let Some(hearer) = hearer {
            // And chains are of one thread.
            let owner = owner.filter(|owner| hearer == asker || !chains::is_chain(*owner));
            self.heard(hearer, owner, connection, call.end_ns, requests);
        }
    }

    /// Does the process call others, as far as is known?
    pub fn calls_others(&self, tgid: u32) -> bool {
        self.callers.has(tgid)
    }

    /// Does the process receive requests, as far as is known?
    fn serves(&self, tgid: u32) -> bool {
        self.servers.has(tgid)
    }

    fn follows(&self, tgid: u32) -> bool {
        self.all || self.callers.has(tgid)
    }

    /// A task answered a request that came at `since_ns`. Gives what the request's time was spent on, unless its process
    /// is not followed.
    pub fn answered(
        &mut self,
        task: Option<Task>,
        tgid: u32,
        inbound: Inbound,
        since_ns: u64,
        served: Served,
        requests: &mut impl Requests,
    ) -> Option<Served> {
        if !self.follows(tgid) {
            return None;
        }
        let mut served = served;
        if let Some(receiver) = served.receiver.take()
            && let Some(work) = self.tasks.get_mut(&receiver)
        {
            work.open = work.open.saturating_sub(1);
        }
        self.goes_on(&mut served);
        if let Some(task) = task
            && let Some(work) = self.tasks.get_mut(&task)
        {
            work.turn.retain(|other| *other != inbound);
            if work.current == Some(inbound) {
                work.spoke = true;
            }
            if task.is_thread() && work.receives {
                self.has_answered(task, inbound, &mut served, requests);
            } else {
                let birth = work.birth;
                self.adopt((task, birth), since_ns, &mut served, GENERATIONS);
            }
        }
        Some(served)
    }

    /// A task has made a call of which it is not known for whom: those that it took over from may come to know.
    fn tell_ancestors(&mut self, task: Task) {
        let mut child = task;
        for _ in 1..GENERATIONS {
            let Some(work) = self.tasks.get(&child) else { return };
            let (birth, Some((parent, parent_birth))) = (work.birth, work.parent) else {
                return;
            };
            let Some(ancestor) = self.tasks.get_mut(&parent).filter(|work| work.birth == parent_birth) else {
                return;
            };
            if ancestor.children.contains(&(child, birth)) {
                return;
            }
            ancestor.add_child((child, birth));
            child = parent;
        }
    }

    /// What this task, and those that took over from it, did since then is the request's.
    fn adopt(&mut self, (task, birth): (Task, u64), since_ns: u64, served: &mut Served, generations: u32) {
        let Some(work) = self.tasks.get_mut(&task).filter(|work| work.birth == birth) else {
            return;
        };
        let (calls, children) = (std::mem::take(&mut work.calls), std::mem::take(&mut work.children));
        let invocations = std::mem::take(&mut work.invocations).into_iter();
        let since = invocations.filter(|invocation| invocation.began_ns >= since_ns);
        since.for_each(|invocation| served.invoked(invocation));
        let mut attributed = 0;
        for call in calls.into_iter().filter(|call| call.begin_ns >= since_ns) {
            served.add(call);
            attributed += 1;
        }
        self.attributed(task.tgid, attributed);
        if generations > 1 {
            for child in children {
                self.adopt(child, since_ns, served, generations - 1);
            }
        }
    }

    fn attributed(&mut self, tgid: u32, calls: u64) {
        self.account.attributed += calls;
        if let Some(known) = self.processes.get_mut(&tgid) {
            known.attributed += calls;
        }
    }

    /// How much is known of a process's calls; not if there are too many processes.
    fn known(&mut self, tgid: u32) -> Option<&mut Known> {
        let has_room = self.processes.len() < PROCESSES || self.processes.contains_key(&tgid);
        has_room.then(|| self.processes.entry(tgid).or_default())
    }

    /// What a task is at.
    fn work(&mut self, task: Task) -> &mut Work {
        self.make_room();
        self.tasks.entry(task).or_default()
    }

    /// A task learnt of something that is this request's.
    fn heard(
        &mut self,
        task: Task,
        inbound: Option<Inbound>,
        connection: u64,
        at_ns: u64,
        requests: &mut impl Requests,
    ) -> &mut Work {
        if let Some(served) = inbound.and_then(|inbound| requests.served(inbound)) {
            self.goes_on(served);
        }
        // What a thread reads that receives no requests is in no order with any.
        if self.work(task).receives && task.is_thread() {
            self.reads(task, inbound, connection, at_ns, requests);
        }
        let work = self.work(task);
        work.turn.retain(|other| Some(*other) != inbound);
        if let Some(before) = work.current.filter(|before| Some(*before) != inbound && !work.spoke)
            && work.turn.len() < TURN
        {
            work.turn.push(before);
        }
        work.age(task, at_ns, requests);
        work.current = inbound;
        work.spoke = false;
        work.heard_on = connection;
        work
    }

    /// Whose call it was, by what is known of that now, and what is known of it.
    fn owner<'a>(
        &'a mut self,
        asker: Task,
        inbound: Inbound,
        requests: &'a mut impl Requests,
    ) -> (Inbound, Option<&'a mut Served>) {
        let turn = self.tasks.get_mut(&asker).and_then(|work| work.order.as_deref_mut());
        let Some(Turn { chains, .. }) = turn else {
            return (inbound, requests.served(inbound));
        };
        let inbound = chains.resolved(inbound);
        (inbound, chains.served(inbound, requests))
    }

    /// A request waits no more for what is not seen.
    fn goes_on(&mut self, served: &mut Served) {
        if let Some(task) = served.stalled.take()
            && let Some(work) = self.tasks.get_mut(&task)
        {
            work.stalled = work.stalled.saturating_sub(1);
        }
    }

    /// Forgets the half of the tasks that was idle for longest, if there are too many.
    fn make_room(&mut self) {
        if self.tasks.len() < TASKS {
            return;
        }
        let mut times: Vec<u64> = self.tasks.values().map(|work| work.active_ns).collect();
        let (_, median, _) = times.select_nth_unstable(TASKS / 2);
        let median = *median;
        self.tasks.retain(|_, work| work.active_ns > median);
        if self.tasks.len() >= TASKS {
            self.tasks.clear();
        }
    }
}

impl Work {
    /// Calls of which it is not known for whom it made them.
    fn keep(&mut self, calls: impl IntoIterator<Item = Call>) {
        // What is as old as that was made for nobody whose answer is still to come.
        if self.calls.len() >= CALLS {
            self.calls.drain(..CALLS / 2);
        }
        self.calls.extend(calls);
    }

    fn add_child(&mut self, child: (Task, u64)) {
        if self.children.len() >= CHILDREN {
            self.children.remove(0);
        }
        self.children.push(child);
    }

    /// Of what was heard of in earlier turns of the loop nothing came: those wait for something that is not seen.
    fn age(&mut self, task: Task, now_ns: u64, requests: &mut impl Requests) {
        let turned = now_ns.saturating_sub(self.active_ns) >= ONE_TURN_NS;
        self.active_ns = self.active_ns.max(now_ns);
        let Self { turn, stalled, .. } = self;
        turn.retain(|&other| {
            let Some(served) = requests.served(other) else {
                return false;
            };
            let waits = served.outstanding == 0 && served.stalled.is_none();
            if waits && turned {
                served.stalled = Some(task);
                *stalled += 1;
                return false;
            }
            waits
        });
    }
}

impl Served {
    fn add(&mut self, call: Call) {
        if self.calls.len() < CALLS {
            self.calls.push(call);
        }
    }

    /// Calls that may have been its own.
    pub fn ambiguous(&self) -> u32 {
        self.ambiguous
    }

    /// Heap bytes held.
    pub fn heap_bytes(&self) -> usize {
        self.calls.capacity() * size_of::<Call>() + self.invoked.capacity() * size_of::<Invoked>()
    }
}
