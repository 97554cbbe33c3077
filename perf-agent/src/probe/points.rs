//! The table of attach points: which program hangs where, for which backend. What differs between backends is here and
//! in the programs' own adapters, nowhere else.

use super::btf::KernelTypes;
use crate::source::{Backend, HookFamily};

/// What a hook gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Point {
    /// Bytes that a process sent over TCP (and, in the `tracepoint` backend, over Unix sockets).
    Sent,
    /// Bytes that a process received, likewise.
    Received,
    /// Bytes that sendfile and splice hand to the socket page by page (until 6.4).
    SentPage,
    /// Bytes sent over Unix sockets.
    UnixSent,
    /// Bytes received over Unix sockets.
    UnixReceived,
    /// When data becomes readable: the beginning of queue time.
    Arrived,
    /// TCP connections as they are closed and reset.
    StateChanged,
    /// The end of TCP sockets.
    Destroyed,
    /// The end of Unix sockets.
    UnixDestroyed,
    /// Children of filtered processes.
    Forked,
    /// New programs of processes.
    Executed,
    /// The end of processes.
    Exited,
}

impl Point {
    /// The words used in the API and by `doctor`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Received => "received",
            Self::SentPage => "sent page",
            Self::UnixSent => "unix sent",
            Self::UnixReceived => "unix received",
            Self::Arrived => "arrived",
            Self::StateChanged => "state changed",
            Self::Destroyed => "destroyed",
            Self::UnixDestroyed => "unix destroyed",
            Self::Forked => "forked",
            Self::Executed => "executed",
            Self::Exited => "exited",
        }
    }

    /// What is not seen without it.
    pub fn lost_without(self) -> (&'static str, &'static str) {
        match self {
            Self::Sent | Self::Received | Self::StateChanged | Self::Destroyed => ("connections", "nothing is seen"),
            Self::SentPage => (
                "sendfile and splice",
                "lengths of such answers are taken from the stream's position",
            ),
            Self::UnixSent | Self::UnixReceived => ("Unix sockets", "their requests are not seen"),
            Self::Arrived => ("queue time", "it is null for every request"),
            Self::UnixDestroyed => (
                "the end of Unix sockets",
                "it is noticed when the peer reads it, or within five seconds",
            ),
            Self::Forked => (
                "children of filtered processes",
                "those born after the start are not observed",
            ),
            Self::Executed | Self::Exited => ("the end of processes", "a reused process number may show the old name"),
        }
    }
}

/// When an attach point exists at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Always expected.
    Always,
    /// Only where the target function has this many arguments.
    Arguments(usize),
    /// Only where the target function exists (it came or went with some release); nothing is missing without it.
    IfPresent,
}

/// One row: a program, where it hangs, and for whom.
#[derive(Clone, Copy, Debug)]
pub struct AttachPoint {
    /// The backend it belongs to; `None` for those that serve every backend.
    pub backend: Option<Backend>,
    /// What it gives.
    pub point: Point,
    /// The program's name in the BPF object.
    pub program: &'static str,
    /// The mechanism.
    pub family: HookFamily,
    /// The tracepoint or kernel function.
    pub target: &'static str,
    /// When it applies.
    pub condition: Condition,
    /// Whether the backend works without it.
    pub required: bool,
}

const fn row(
    backend: Option<Backend>,
    point: Point,
    program: &'static str,
    family: HookFamily,
    target: &'static str,
) -> AttachPoint {
    let required = matches!(
        point,
        Point::Sent | Point::Received | Point::StateChanged | Point::Destroyed
    );
    AttachPoint {
        backend,
        point,
        program,
        family,
        target,
        condition: Condition::Always,
        required,
    }
}

const fn only(row: AttachPoint, condition: Condition) -> AttachPoint {
    AttachPoint { condition, ..row }
}

const TRACEPOINT: Option<Backend> = Some(Backend::Tracepoint);
const FENTRY: Option<Backend> = Some(Backend::Fentry);
const KPROBE: Option<Backend> = Some(Backend::Kprobe);

/// Every program of the object, in the order of attaching: what ends a connection before what begins one, so that no
/// state outlives its socket.
pub const POINTS: &[AttachPoint] = &[
    row(
        None,
        Point::Forked,
        "process_forked",
        HookFamily::Tracepoint,
        "sched_process_fork",
    ),
    row(
        None,
        Point::Executed,
        "process_executed",
        HookFamily::Tracepoint,
        "sched_process_exec",
    ),
    row(
        None,
        Point::Exited,
        "process_exited",
        HookFamily::Tracepoint,
        "sched_process_exit",
    ),
    row(
        None,
        Point::Destroyed,
        "tcp_destroyed",
        HookFamily::Tracepoint,
        "tcp_destroy_sock",
    ),
    row(
        None,
        Point::StateChanged,
        "state_changed",
        HookFamily::Tracepoint,
        "inet_sock_set_state",
    ),
    row(
        FENTRY,
        Point::UnixDestroyed,
        "fentry_unix_destroyed",
        HookFamily::Fentry,
        "unix_release_sock",
    ),
    row(
        KPROBE,
        Point::UnixDestroyed,
        "kprobe_unix_destroyed",
        HookFamily::Kprobe,
        "unix_release_sock",
    ),
    row(
        TRACEPOINT,
        Point::Arrived,
        "tracepoint_arrived",
        HookFamily::Tracepoint,
        "sk_data_ready",
    ),
    row(
        FENTRY,
        Point::Arrived,
        "fentry_arrived",
        HookFamily::Fentry,
        "sock_def_readable",
    ),
    row(
        KPROBE,
        Point::Arrived,
        "kprobe_arrived",
        HookFamily::Kprobe,
        "sock_def_readable",
    ),
    row(
        TRACEPOINT,
        Point::Received,
        "tracepoint_received",
        HookFamily::Tracepoint,
        "sock_recv_length",
    ),
    row(
        TRACEPOINT,
        Point::Sent,
        "tracepoint_sent",
        HookFamily::Tracepoint,
        "sock_send_length",
    ),
    only(
        row(
            FENTRY,
            Point::Received,
            "fentry_received_4",
            HookFamily::Fentry,
            "tcp_recvmsg",
        ),
        Condition::Arguments(4),
    ),
    only(
        row(
            FENTRY,
            Point::Received,
            "fentry_received_5",
            HookFamily::Fentry,
            "tcp_recvmsg",
        ),
        Condition::Arguments(5),
    ),
    only(
        row(
            FENTRY,
            Point::Received,
            "fentry_received_6",
            HookFamily::Fentry,
            "tcp_recvmsg",
        ),
        Condition::Arguments(6),
    ),
    row(FENTRY, Point::Sent, "fentry_sent", HookFamily::Fentry, "tcp_sendmsg"),
    only(
        row(
            FENTRY,
            Point::SentPage,
            "fentry_sent_page",
            HookFamily::Fentry,
            "tcp_sendpage",
        ),
        Condition::IfPresent,
    ),
    row(
        FENTRY,
        Point::UnixReceived,
        "fentry_unix_received",
        HookFamily::Fentry,
        "unix_stream_recvmsg",
    ),
    row(
        FENTRY,
        Point::UnixSent,
        "fentry_unix_sent",
        HookFamily::Fentry,
        "unix_stream_sendmsg",
    ),
    row(
        KPROBE,
        Point::Received,
        "kprobe_received",
        HookFamily::Kprobe,
        "tcp_cleanup_rbuf",
    ),
    row(KPROBE, Point::Sent, "kprobe_sent", HookFamily::Kprobe, "tcp_sendmsg"),
    only(
        row(
            KPROBE,
            Point::SentPage,
            "kprobe_sent_page",
            HookFamily::Kprobe,
            "tcp_sendpage",
        ),
        Condition::IfPresent,
    ),
    row(
        KPROBE,
        Point::UnixReceived,
        "kprobe_unix_received",
        HookFamily::Kprobe,
        "unix_stream_read_actor",
    ),
    row(
        KPROBE,
        Point::UnixSent,
        "kprobe_unix_sent",
        HookFamily::Kprobe,
        "unix_stream_sendmsg",
    ),
];

impl AttachPoint {
    /// Does this row apply on this kernel?
    pub fn applies(&self, types: &KernelTypes) -> bool {
        match self.condition {
            Condition::Always => true,
            Condition::Arguments(count) => types.arguments(self.target) == Some(count),
            Condition::IfPresent => types.arguments(self.target).is_some(),
        }
    }

    /// What it gives and where it hangs, for people.
    pub fn describe(&self) -> String {
        let mechanism = match self.family {
            HookFamily::Tracepoint => "tp_btf",
            HookFamily::Fentry if self.program.contains("arrived") || self.program.contains("destroyed") => "fentry",
            HookFamily::Fentry => "fexit",
            HookFamily::Kprobe => "kprobe",
            HookFamily::Uprobe => "uprobe",
        };
        format!("{}: {mechanism}/{}", self.point.name(), self.target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_backend_has_what_it_cannot_do_without() {
        for backend in Backend::ALL {
            for point in [Point::Sent, Point::Received, Point::Destroyed, Point::StateChanged] {
                let rows = POINTS
                    .iter()
                    .filter(|row| row.backend.is_none_or(|owner| owner == backend));
                assert!(
                    rows.clone().any(|row| row.point == point && row.required),
                    "{backend}: {point:?}"
                );
            }
        }
    }

    #[test]
    fn program_names_are_unique() {
        let mut names: Vec<_> = POINTS.iter().map(|row| row.program).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), POINTS.len());
    }
}
