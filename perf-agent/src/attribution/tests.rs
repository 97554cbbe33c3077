use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::exchange::Class;
use perf_common::record::TASK;

const MS: u64 = 1_000_000;

/// A process under test: requests by name, times in milliseconds.
#[derive(Default)]
struct Program {
    attribution: Attribution,
    served: Table,
    names: HashMap<&'static str, (Inbound, u64)>,
    /// The requests that were answered.
    told: Vec<(&'static str, u64)>,
    next: u32,
}

#[derive(Default)]
struct Table {
    served: HashMap<u64, Served>,
    /// Those that were answered, as far as that may not be all.
    answered: HashMap<u64, Served>,
    causes: HashMap<u64, Cause>,
}

impl Requests for Table {
    fn served(&mut self, inbound: Inbound) -> Option<&mut Served> {
        self.served.get_mut(&inbound.serial)
    }

    fn answered(&mut self, inbound: Inbound) -> Option<&mut Served> {
        self.answered.get_mut(&inbound.serial)
    }

    fn decided(&mut self, call: Outbound, cause: Cause) {
        self.causes.insert(call.serial, cause);
    }
}

/// A call under way.
#[derive(Clone, Copy)]
struct Asked(Task, u64, u64, u64, u64);

/// A connection that is used for one call at a time.
fn line(connection: u64) -> Line {
    Line {
        connection,
        is_shared: false,
        peer: 0,
        connected_ns: None,
    }
}

fn task(tid: u32) -> Task {
    Task { tgid: 7, tid }
}

impl Program {
    /// One that has called somebody before.
    fn new() -> Self {
        let mut program = Self::default();
        program.attribution.callers.add(7);
        program
    }

    fn reads(&mut self, tid: u32, name: &'static str, at: u64) {
        self.next += 1;
        let inbound = Inbound {
            ticket: Ticket(self.next),
            serial: self.next.into(),
        };
        self.names.insert(name, (inbound, at * MS));
        self.served.served.insert(self.next.into(), Served::default());
        self.attribution.received(task(tid), inbound, at * MS, &mut self.served);
    }

    /// Asks for `what` on a connection.
    fn asks(&mut self, tid: u32, what: u64, on: u64, at: u64) -> Asked {
        self.asks_over(tid, what, line(on), at)
    }

    fn asks_over(&mut self, tid: u32, what: u64, line: Line, at: u64) -> Asked {
        self.next += 1;
        let serial = self.next.into();
        let call = Outbound {
            ticket: Ticket(self.next),
            serial,
        };
        let cause = self
            .attribution
            .calls(task(tid), (call, line), at * MS, &mut self.served);
        self.served.causes.insert(serial, cause);
        Asked(task(tid), serial, what, line.connection, at * MS)
    }

    fn hears(&mut self, tid: u32, asked: Asked, at: u64) {
        let Asked(by, serial, endpoint, on, begin_ns) = asked;
        if self.served.causes[&serial] == Cause::Undecided {
            self.attribution.turned(by, &mut self.served);
        }
        let cause = self.served.causes[&serial];
        let call = Call {
            begin_ns,
            end_ns: at * MS,
            class: Class::Database,
            endpoint,
        };
        self.attribution
            .called((by, Some(task(tid))), cause, on, call, &mut self.served);
    }

    fn hands_over(&mut self, from: u32, to: u32, at: u64) {
        self.attribution
            .handed_over(task(from), task(to), at * MS, &mut self.served);
    }

    fn answers(&mut self, tid: u32, name: &'static str) {
        let (inbound, since_ns) = self.names[name];
        let served = self.served.served.remove(&inbound.serial).expect("open");
        let served = self
            .attribution
            .answered(Some(task(tid)), 7, inbound, since_ns, served, &mut self.served);
        self.served.answered.insert(inbound.serial, served.expect("a caller"));
        self.told.push((name, inbound.serial));
    }

    #[track_caller]
    fn check(&self, told: &[(&'static str, &[u64])], [attributed, ambiguous, unattributed]: [u64; 3]) {
        let calls = |serial: &u64| self.served.answered[serial].calls.iter().map(|call| call.endpoint);
        let got = self
            .told
            .iter()
            .map(|(name, serial)| (*name, calls(serial).collect::<Vec<u64>>()));
        let told: Vec<_> = told.iter().map(|(name, calls)| (*name, calls.to_vec())).collect();
        assert_eq!(got.collect::<Vec<_>>(), told);
        let account = self.attribution.account();
        let parts = [account.attributed, account.ambiguous, account.unattributed()];
        assert_eq!(parts, [attributed, ambiguous, unattributed]);
        assert!(self.attribution.tasks.values().all(|work| work.stalled == 0), "stalled");
    }
}

#[test]
fn threads_work_for_the_request_that_they_read() {
    let mut program = Program::new();
    program.reads(1, "a", 0);
    program.reads(2, "b", 0);
    let (one, two) = (program.asks(1, 10, 5, 1), program.asks(2, 20, 6, 1));
    program.hears(2, two, 2);
    program.hears(1, one, 3);
    let three = program.asks(1, 11, 5, 4);
    program.hears(1, three, 5);
    program.answers(1, "a");
    program.answers(2, "b");
    program.check(&[("a", &[10, 11]), ("b", &[20])], [3, 0, 0]);
}

#[test]
fn a_loop_goes_on_with_what_it_hears() {
    let mut program = Program::new();
    program.reads(1, "a", 0);
    let one = program.asks(1, 10, 5, 0);
    program.reads(1, "b", 10);
    let two = program.asks(1, 20, 6, 10);
    program.hears(1, one, 20);
    let three = program.asks(1, 11, 5, 20);
    program.hears(1, two, 30);
    program.answers(1, "b");
    program.hears(1, three, 40);
    program.answers(1, "a");
    program.check(&[("b", &[20]), ("a", &[10, 11])], [3, 0, 0]);
}

#[test]
fn what_is_read_in_one_turn_of_a_loop_is_told_apart_by_its_answers_only() {
    let mut program = Program::new();
    // It does not run at once what it reads.
    program.reads(1, "y", 0);
    program.reads(1, "z", 1);
    program.answers(1, "y");
    program.answers(1, "z");
    program.told.clear();
    program.reads(1, "a", 10);
    program.reads(1, "b", 10);
    let (one, two) = (program.asks(1, 10, 5, 10), program.asks(1, 20, 6, 10));
    program.hears(1, one, 15);
    program.hears(1, two, 16);
    program.answers(1, "a");
    program.answers(1, "b");
    program.check(&[("a", &[]), ("b", &[])], [0, 2, 0]);
    // Once all but one are answered there is no doubt.
    program.reads(1, "c", 20);
    program.reads(1, "d", 20);
    program.answers(1, "c");
    let three = program.asks(1, 30, 5, 20);
    program.hears(1, three, 21);
    program.answers(1, "d");
    program.check(&[("a", &[]), ("b", &[]), ("c", &[]), ("d", &[30])], [1, 2, 0]);
}

/// A connection that is shared, to a peer of its own.
const SHARED: Line = Line {
    connection: 9,
    is_shared: true,
    peer: 1,
    connected_ns: None,
};

/// Requests that a loop reads one after the other, and asks for on a connection that it shares: both are heard of at once
/// later.
fn two_in_a_read(program: &mut Program) {
    program.reads(1, "a", 0);
    program.reads(1, "b", 1);
    let asked = [program.asks_over(1, 10, SHARED, 2), program.asks_over(1, 20, SHARED, 2)];
    for asked in asked {
        program.hears(1, asked, 5);
    }
}

#[test]
fn a_loop_that_runs_at_once_what_it_reads_says_what_follows_from_the_newest_read() {
    let mut program = Program::new();
    program.reads(1, "a", 0);
    program.reads(1, "b", 1);
    let two = program.asks(1, 20, 6, 1);
    program.reads(1, "c", 2);
    program.answers(1, "c");
    program.hears(1, two, 5);
    program.answers(1, "b");
    program.answers(1, "a");
    program.check(&[("c", &[]), ("b", &[20]), ("a", &[])], [1, 0, 0]);
}

#[test]
fn calls_that_were_kept_back_are_of_those_that_said_nothing_in_their_order() {
    let mut program = Program::new();
    program.reads(1, "a", 0);
    program.reads(1, "b", 1);
    let one = program.asks(1, 20, 6, 1);
    program.reads(1, "c", 2);
    let kept_back = [program.asks_over(1, 10, SHARED, 3), program.asks_over(1, 30, SHARED, 3)];
    for asked in kept_back {
        program.hears(1, asked, 5);
    }
    program.answers(1, "a");
    program.answers(1, "c");
    program.hears(1, one, 6);
    program.answers(1, "b");
    program.check(&[("a", &[10]), ("c", &[30]), ("b", &[20])], [3, 0, 0]);
}

#[test]
fn what_is_read_at_once_is_dealt_with_in_its_order() {
    let mut program = Program::new();
    two_in_a_read(&mut program);
    let (one, two) = (program.asks(1, 11, 5, 5), program.asks(1, 21, 6, 5));
    program.hears(1, two, 7);
    program.answers(1, "b");
    program.hears(1, one, 8);
    program.answers(1, "a");
    program.check(&[("b", &[20, 21]), ("a", &[10, 11])], [4, 0, 0]);
}

#[test]
fn whose_calls_they_were_shows_in_the_answers_behind_them() {
    let mut program = Program::new();
    two_in_a_read(&mut program);
    let other = Line { peer: 2, ..line(6) };
    let (one, two) = (program.asks(1, 21, 5, 5), program.asks_over(1, 11, other, 5));
    program.hears(1, one, 7);
    let three = program.asks(1, 22, 5, 7);
    program.hears(1, three, 9);
    assert_eq!(program.attribution.account().ambiguous, 2);
    program.answers(1, "b");
    program.hears(1, two, 10);
    program.answers(1, "a");
    program.check(&[("b", &[20, 21, 22]), ("a", &[10, 11])], [5, 0, 0]);
}

#[test]
fn what_turns_out_behind_the_answer_still_counts() {
    let mut program = Program::new();
    two_in_a_read(&mut program);
    let other = Line { peer: 2, ..line(6) };
    let calls = [program.asks(1, 11, 5, 5), program.asks_over(1, 21, other, 5)];
    program.reads(1, "c", 6);
    program.answers(1, "c");
    // One read is about both once more: whose it was shows when both are answered, in its order.
    for call in calls {
        program.hears(1, call, 9);
    }
    program.answers(1, "a");
    program.answers(1, "b");
    let (inbound, _) = program.names["a"];
    assert!(!program.attribution.possible(task(1), inbound).is_settled());
    program.reads(1, "d", 200);
    program.answers(1, "d");
    assert!(program.attribution.possible(task(1), inbound).is_settled());
    program.check(&[("c", &[]), ("a", &[10, 11]), ("b", &[20, 21]), ("d", &[])], [4, 0, 0]);
}

#[test]
fn a_call_on_a_new_connection_is_of_the_one_for_which_it_was_made() {
    let mut program = Program::new();
    program.reads(1, "a", 0);
    program.reads(1, "b", 2);
    let two = program.asks(1, 20, 6, 2);
    let new = Line {
        connected_ns: Some(MS),
        ..line(7)
    };
    let one = program.asks_over(1, 10, new, 3);
    program.hears(1, two, 5);
    program.hears(1, one, 6);
    program.answers(1, "a");
    program.answers(1, "b");
    program.check(&[("a", &[10]), ("b", &[20])], [2, 0, 0]);
}

#[test]
fn a_connection_that_others_wait_for_may_go_to_one_of_them() {
    let mut program = Program::new();
    program.reads(1, "a", 0);
    let one = program.asks(1, 10, 5, 0);
    // The pool has no connection for it.
    program.reads(1, "b", 10);
    program.hears(1, one, 20);
    let two = program.asks(1, 99, 5, 20);
    let three = program.asks(1, 11, 6, 20);
    program.hears(1, two, 30);
    program.hears(1, three, 40);
    program.answers(1, "a");
    program.answers(1, "b");
    program.check(&[("a", &[10, 11]), ("b", &[])], [2, 1, 0]);
}

#[test]
fn who_answers_a_request_has_worked_for_it() {
    let (reader, one, two) = (TASK | 1, TASK | 2, TASK | 3);
    let mut program = Program::new();
    let before = program.asks(one, 1, 5, 0);
    program.hears(one, before, 1);
    program.reads(reader, "a", 10);
    program.reads(reader, "b", 10);
    let calls = [program.asks(one, 10, 5, 11), program.asks(two, 20, 6, 11)];
    for call in calls {
        program.hears(reader, call, 12);
    }
    let again = program.asks(one, 11, 5, 13);
    program.hears(reader, again, 14);
    program.answers(two, "b");
    program.answers(one, "a");
    // The first call was made before there was any request: it is in no account.
    program.check(&[("b", &[20]), ("a", &[10, 11])], [3, 0, 0]);
}

#[test]
fn a_thread_of_a_pool_that_answers_has_worked_for_it_and_a_loop_has_not() {
    let mut program = Program::new();
    program.reads(1, "a", 0);
    let call = program.asks(2, 10, 5, 1);
    program.hears(2, call, 2);
    program.answers(2, "a");
    program.check(&[("a", &[10])], [1, 0, 0]);
    // A timer of the loop that serves another request meanwhile.
    program.reads(1, "b", 10);
    program.answers(1, "b");
    let timer = program.asks(1, 99, 5, 11);
    program.hears(1, timer, 12);
    program.reads(1, "c", 13);
    program.answers(1, "c");
    program.check(&[("a", &[10]), ("b", &[]), ("c", &[])], [1, 0, 1]);
}

#[test]
fn calls_behind_the_answer_are_nobodys() {
    let mut program = Program::new();
    program.reads(1, "a", 0);
    let late = program.asks(1, 10, 5, 1);
    program.answers(1, "a");
    program.hears(1, late, 5);
    let later = program.asks(1, 11, 5, 6);
    program.hears(1, later, 7);
    program.check(&[("a", &[])], [0, 0, 2]);
}

#[test]
fn who_takes_over_works_for_the_same_request() {
    let (writer, child) = (TASK | 1, TASK | 2);
    let mut program = Program::new();
    program.reads(1, "a", 0);
    program.reads(2, "b", 0);
    program.hands_over(1, writer, 1);
    let one = program.asks(writer, 10, 5, 2);
    program.hands_over(2, writer, 2);
    let two = program.asks(writer, 20, 6, 3);
    program.hands_over(2, child, 3);
    program.answers(2, "b");
    // Behind the answer it works for nobody.
    let late = program.asks(child, 21, 7, 4);
    for call in [one, two, late] {
        program.hears(TASK | 9, call, 5);
    }
    program.answers(1, "a");
    program.check(&[("b", &[]), ("a", &[10])], [1, 0, 2]);
}

#[test]
fn what_children_did_is_the_request_of_the_one_that_answers() {
    let (loops, one, other) = (TASK | 1, TASK | 2, TASK | 3);
    let (child, grandchild, stranger) = (TASK | 4, TASK | 5, TASK | 6);
    let mut program = Program::new();
    // The loop reads both at once, and begets those who answer: for which request is not known.
    program.reads(loops, "a", 0);
    program.reads(loops, "b", 0);
    for task in [one, other] {
        program.hands_over(loops, task, 1);
    }
    program.hands_over(one, child, 2);
    program.hands_over(child, grandchild, 2);
    program.hands_over(other, stranger, 2);
    let calls = [
        program.asks(one, 10, 5, 3),
        program.asks(child, 11, 6, 3),
        program.asks(grandchild, 12, 7, 3),
        program.asks(stranger, 20, 8, 3),
    ];
    for call in calls {
        program.hears(loops, call, 4);
    }
    // Others have the names now, and made none of those calls: whose names they had is gone.
    program.hands_over(loops, stranger, 5);
    program.hands_over(loops, child, 5);
    let late = program.asks(stranger, 99, 5, 6);
    program.hears(loops, late, 7);
    program.answers(other, "b");
    program.answers(one, "a");
    program.check(&[("b", &[20]), ("a", &[10, 11, 12])], [4, 0, 1]);
}

#[test]
fn a_process_of_whose_calls_little_is_known_is_puzzling_once() {
    let mut program = Program::new();
    let calls = |program: &mut Program, tid| {
        for at in 0..PUZZLING {
            let call = program.asks(tid, 10, 5, at);
            program.hears(tid, call, at);
        }
    };
    calls(&mut program, 1);
    assert!(program.attribution.puzzling().is_empty(), "it serves nobody");
    program.reads(2, "a", 0);
    calls(&mut program, 2);
    assert!(program.attribution.puzzling().is_empty(), "all of them are known");
    calls(&mut program, 1);
    assert_eq!(program.attribution.puzzling(), [7]);
    assert!(program.attribution.puzzling().is_empty());
}

#[test]
fn time_is_given_once_and_adds_up() {
    let call = |begin: u64, end: u64, class, endpoint| Call {
        begin_ns: begin,
        end_ns: end,
        class,
        endpoint,
    };
    let mut served = Served::default();
    for call in [
        call(60, 200, Class::External, 3),
        call(10, 30, Class::Database, 1),
        call(20, 40, Class::Cache, 2),
        call(35, 38, Class::Database, 1),
    ] {
        served.add(call);
    }
    let shares = served.shares(0, 100);
    assert_eq!((shares.own_ns, shares.class_ns), (30, [20, 10, 40]));
    assert_eq!(shares.calls, [2, 1, 1]);
    assert_eq!(shares.own_ns + shares.class_ns.iter().sum::<u64>(), 100);
    let mut endpoints = shares.endpoints;
    endpoints.sort_by_key(|share| share.endpoint);
    let share = |endpoint, calls, time_ns| Share {
        endpoint,
        calls,
        time_ns,
    };
    assert_eq!(endpoints, [share(1, 2, 23), share(2, 1, 20), share(3, 1, 140)]);
}

#[test]
fn tasks_are_bounded_and_go_with_their_process() {
    let mut program = Program::new();
    for tid in 0..70_000 {
        program.next = 0;
        program.reads(tid, "a", u64::from(tid));
    }
    assert!(program.attribution.tasks.len() <= TASKS);
    program.attribution.exited(7);
    assert!(program.attribution.tasks.is_empty());
}

impl Program {
    /// Was in a chosen function between these times.
    fn was_in(&mut self, tid: u32, function: u32, [from, to]: [u64; 2]) -> Cause {
        let invocation = Invocation {
            function,
            began_ns: from * MS,
            ended_ns: to * MS,
        };
        self.attribution.invoked(task(tid), invocation, &mut self.served)
    }

    /// Answers, and tells what it invoked: function, calls, milliseconds.
    fn invoked(&mut self, tid: u32, name: &'static str) -> Vec<(u32, u64, u64)> {
        let (inbound, since_ns) = self.names[name];
        let served = self.served.served.remove(&inbound.serial).expect("open");
        let served = self
            .attribution
            .answered(Some(task(tid)), 7, inbound, since_ns, served, &mut self.served);
        let served = served.expect("every process is followed");
        let all = served.invocations().iter();
        all.map(|one| (one.function, one.calls, one.time_ns / MS)).collect()
    }
}

#[test]
fn invocations_are_of_the_request_that_the_task_works_for() {
    let mut program = Program::default();
    program.attribution.follow_all();
    program.reads(1, "a", 0);
    program.reads(2, "b", 0);
    program.was_in(1, 5, [1, 3]);
    program.was_in(1, 5, [4, 5]);
    program.was_in(1, 6, [5, 6]);
    program.was_in(2, 5, [1, 9]);
    assert_eq!(program.invoked(1, "a"), [(5, 2, 3), (6, 1, 1)]);
    assert_eq!(program.invoked(2, "b"), [(5, 1, 8)]);
    assert_eq!(program.was_in(1, 5, [10, 11]), Cause::Unknown, "behind the answer");
}

#[test]
fn invocations_are_of_the_request_whose_answer_the_task_sends() {
    let mut program = Program::default();
    program.attribution.follow_all();
    program.was_in(9, 5, [1, 2]);
    program.reads(1, "a", 3);
    assert_eq!(program.was_in(9, 5, [4, 6]), Cause::Unknown, "handed over in memory");
    assert_eq!(program.invoked(9, "a"), [(5, 1, 2)], "not what was before the request");
}

#[test]
fn an_invocation_of_one_of_several_requests_is_ambiguous() {
    let mut program = Program::default();
    program.attribution.follow_all();
    program.reads(1, "a", 0);
    program.reads(1, "b", 0);
    assert_eq!(program.was_in(1, 5, [0, 1]), Cause::Ambiguous);
    assert_eq!(program.invoked(1, "b"), []);
}

/// What a loop does, of what there is at the moment: what another one began as well.
#[derive(Clone, Copy, Debug)]
enum Step {
    Reads,
    Asks {
        on: u64,
        peer: u32,
        is_shared: bool,
        connected: bool,
    },
    Hears(usize),
    Answers(usize),
    Waits(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => Just(Step::Reads),
        4 => (1..12_u64, 0..3_u32, any::<bool>(), prop::bool::weighted(0.1)).prop_map(|(on, peer, is_shared, connected)| {
            Step::Asks { on, peer, is_shared, connected }
        }),
        5 => any::<usize>().prop_map(Step::Hears),
        2 => any::<usize>().prop_map(Step::Answers),
        3 => prop_oneof![Just(1_u64), Just(200)].prop_map(Step::Waits),
    ]
}

proptest! {
    #[test]
    fn whatever_loops_do_each_call_is_given_once(steps in prop::collection::vec((1..4_u32, step()), 1..400)) {
        let mut program = Program::new();
        let (mut at, mut open, mut asked) = (0, Vec::new(), Vec::new());
        for (tid, step) in steps {
            match step {
                Step::Reads => {
                    program.reads(tid, "any", at);
                    open.push(program.names["any"]);
                }
                Step::Asks { on, peer, is_shared, connected } => {
                    let connected_ns = connected.then_some(at.saturating_sub(1) * MS);
                    let line = Line { connection: on, is_shared, peer, connected_ns };
                    asked.push(program.asks_over(tid, 1, line, at));
                }
                Step::Hears(which) if !asked.is_empty() => {
                    let asked = asked.remove(which % asked.len());
                    program.hears(tid, asked, at);
                }
                Step::Answers(which) if !open.is_empty() => {
                    let one = open.remove(which % open.len());
                    program.names.insert("any", one);
                    program.answers(tid, "any");
                }
                Step::Waits(ms) => at += ms,
                Step::Hears(_) | Step::Answers(_) => {}
            }
        }
        let account = program.attribution.account();
        prop_assert!(account.attributed + account.ambiguous <= account.calls);
        let Table { served, answered, .. } = &program.served;
        let given: usize = served.values().chain(answered.values()).map(|served| served.calls.len()).sum();
        prop_assert_eq!(given as u64, account.attributed);
    }
}
