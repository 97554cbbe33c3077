//! Invocations of functions that the operator chose: for which request they were made.
//!
//! The same is believed as of calls to others: a task works for whom it heard of last, and who answers has worked for it.
//! An invocation tells nothing of what its task does next, so it changes nothing else.

use super::{Attribution, Cause, Requests, Served, Task};

/// Invocations of a task of which it is not known for whom it works that are kept until it answers somebody.
const UNKNOWN: usize = 256;
/// Functions that are told apart in one request.
const FUNCTIONS: usize = 64;

/// An invocation that returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Invocation {
    /// Number of the function.
    pub function: u32,
    /// When it began; the time of its end if that is not known.
    pub began_ns: u64,
    /// When it ended.
    pub ended_ns: u64,
}

/// The invocations of one function that a request made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Invoked {
    /// Number of the function.
    pub function: u32,
    /// How many.
    pub calls: u64,
    /// The sum of their times.
    pub time_ns: u64,
}

impl Attribution {
    /// Functions were chosen: requests of every process are followed, and not only of those that call others.
    pub fn follow_all(&mut self) {
        self.all = true;
    }

    /// A task's invocation of a chosen function returned. For whom was it?
    pub fn invoked(&mut self, task: Task, invocation: Invocation, requests: &mut impl Requests) -> Cause {
        let Some(work) = self.tasks.get_mut(&task) else {
            self.work(task).keep_invocation(task, invocation);
            return Cause::Unknown;
        };
        // What kept it busy is no turn of its loop.
        work.active_ns = work.active_ns.max(invocation.ended_ns);
        let others = work.turn.iter().any(|other| requests.served(*other).is_some());
        let Some((current, served)) = work
            .current
            .and_then(|current| Some((current, requests.served(current)?)))
        else {
            if others {
                return Cause::Ambiguous;
            }
            work.keep_invocation(task, invocation);
            self.tell_ancestors(task);
            return Cause::Unknown;
        };
        if others {
            return Cause::Ambiguous;
        }
        served.invoked(invocation);
        Cause::Request(current)
    }
}

impl super::Work {
    /// Keeps it until the task answers somebody. A thread that receives requests itself knows whom it works for.
    pub(super) fn keep_invocation(&mut self, task: Task, invocation: Invocation) {
        self.active_ns = self.active_ns.max(invocation.ended_ns);
        if task.is_thread() && self.receives {
            return;
        }
        if self.invocations.len() >= UNKNOWN {
            self.invocations.drain(..UNKNOWN / 2);
        }
        self.invocations.push(invocation);
    }
}

impl Served {
    pub(super) fn invoked(&mut self, invocation: Invocation) {
        let time_ns = invocation.ended_ns.saturating_sub(invocation.began_ns);
        let mut known = self.invoked.iter_mut();
        if let Some(invoked) = known.find(|invoked| invoked.function == invocation.function) {
            invoked.calls += 1;
            invoked.time_ns = invoked.time_ns.saturating_add(time_ns);
        } else if self.invoked.len() < FUNCTIONS {
            self.invoked.push(Invoked {
                function: invocation.function,
                calls: 1,
                time_ns,
            });
        }
    }

    /// What it made of the chosen functions.
    pub fn invocations(&self) -> &[Invoked] {
        &self.invoked
    }
}
