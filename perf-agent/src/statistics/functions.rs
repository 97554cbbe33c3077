//! Functions that the operator chose: which there are, and what was counted of each.

use std::sync::Arc;

use perf_common::function::{FUNCTIONS, FunctionCounts};

use crate::aggregate::{FunctionAggregate, Inside};
use crate::attribution::{Invocation, Invoked};
use crate::event::{FunctionCounted, FunctionTold};
use crate::snapshot::FunctionSnapshot;

/// By their numbers.
#[derive(Debug, Default)]
pub(super) struct Functions {
    all: Vec<Option<Function>>,
}

#[derive(Debug)]
struct Function {
    told: Arc<FunctionTold>,
    /// Invocations of which a record came.
    seen: u64,
    counts: FunctionCounts,
    in_flight: u32,
    ns_per_call: u64,
    /// When they were counted.
    counted_ns: u64,
    /// Invocations that began in each second, lately.
    rate: Option<f64>,
    aggregate: Arc<FunctionAggregate>,
}

impl Functions {
    /// What a number stands for from now on, and whether it is observed.
    pub(super) fn told(&mut self, told: FunctionTold) {
        if told.function >= FUNCTIONS {
            return;
        }
        let place = told.function as usize;
        if place >= self.all.len() {
            self.all.resize_with(place + 1, || None);
        }
        let told = Arc::new(told);
        match &mut self.all[place] {
            Some(function) => function.told = told,
            none => {
                *none = Some(Function {
                    told,
                    seen: 0,
                    counts: FunctionCounts::default(),
                    in_flight: 0,
                    ns_per_call: 0,
                    counted_ns: 0,
                    rate: None,
                    aggregate: Arc::default(),
                });
            }
        }
    }

    /// What was counted of a function so far.
    pub(super) fn counted(&mut self, counted: &FunctionCounted) {
        let Some(function) = self.get(counted.function) else {
            return;
        };
        let passed_ns = counted.at_ns.saturating_sub(function.counted_ns);
        function.rate = (function.counted_ns != 0 && passed_ns > 0).then(|| {
            let began = counted.counts.entered.saturating_sub(function.counts.entered);
            began as f64 * 1e9 / passed_ns as f64
        });
        function.counts = counted.counts;
        function.in_flight = counted.in_flight;
        function.ns_per_call = counted.ns_per_call;
        function.counted_ns = counted.at_ns;
    }

    /// An invocation returned.
    pub(super) fn returned(&mut self, invocation: Invocation, timed: bool, ambiguous: bool) {
        let Some(function) = self.get(invocation.function) else {
            return;
        };
        function.seen += 1;
        let took_ns = timed.then(|| invocation.ended_ns.saturating_sub(invocation.began_ns));
        let aggregate = Arc::make_mut(&mut function.aggregate);
        aggregate.returned(invocation.ended_ns, took_ns);
        if ambiguous {
            aggregate.ambiguous();
        }
    }

    /// A request of this endpoint was answered, for which so much was called.
    pub(super) fn answered(&mut self, endpoint: u64, at_ns: u64, invoked: &[Invoked]) {
        for invoked in invoked {
            if let Some(function) = self.get(invoked.function) {
                let inside = Inside {
                    endpoint,
                    requests: 1,
                    calls: invoked.calls,
                    time_ns: invoked.time_ns,
                };
                Arc::make_mut(&mut function.aggregate).answered(at_ns, &inside);
            }
        }
    }

    /// Time went on.
    pub(super) fn tick(&mut self, at_ns: u64) {
        for function in self.all.iter_mut().flatten() {
            Arc::make_mut(&mut function.aggregate).advance(at_ns);
        }
    }

    /// As of now.
    pub(super) fn snapshot(&self) -> Vec<FunctionSnapshot> {
        let all = self.all.iter().flatten();
        all.map(|function| FunctionSnapshot {
            told: Arc::clone(&function.told),
            counts: function.counts,
            unseen: function.counts.returned.saturating_sub(function.seen),
            in_flight: function.in_flight,
            ns_per_call: (function.ns_per_call != 0).then_some(function.ns_per_call),
            rate: function.rate,
            aggregate: Arc::clone(&function.aggregate),
        })
        .collect()
    }

    fn get(&mut self, function: u32) -> Option<&mut Function> {
        self.all.get_mut(function as usize)?.as_mut()
    }
}
