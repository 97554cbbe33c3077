//! The kernel side: what each kind of hook hit costs, by the kernel's own count, beside empty programs on the same hooks
//! in the same run.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use aya::programs::Program;
use aya::sys::{Stats, enable_stats};
use aya::{Btf, Ebpf};
use perf_agent::config::CaptureSettings;
use perf_agent::source::kernel::KernelSource;
use perf_agent::source::{Backend, Source as _};
use perf_common::counters::Counter;
use perf_common::record::{Record, decode, direction, flag};

use crate::host;
use crate::report::{Report, median};
use crate::talk::{PIECE, Talk};

/// How long each kind of talk lasts in one sample.
const TALK: Duration = Duration::from_millis(400);
/// Holds what one talk gives even if the reader does not come to run: a record that is lost costs less than one that is
/// not.
const RING_BYTES: u32 = 64 << 20;
/// Bars: how many times an empty program.
const CAPTURED: f64 = 6.0;
const LIGHT: f64 = 4.5;
const FOLDED: f64 = 3.0;

/// The hooks that are measured, as the programs' names say.
const HOOKS: [&str; 3] = ["sent", "received", "arrived"];
const SENT: usize = 0;
const RECEIVED: usize = 1;
const ARRIVED: usize = 2;

/// Takes so many samples with one backend, or the one that the agent would choose.
pub(crate) fn run(empty: &Path, backend: Option<Backend>, samples: usize) -> Result<Report> {
    let _stats = enable_stats(Stats::RunTime).context("cannot switch the kernel's counting of program runs on")?;
    let settings = CaptureSettings {
        backend,
        request_bytes: 4096,
        response_bytes: u32::try_from(PIECE)?,
        ring_bytes: RING_BYTES,
        ..CaptureSettings::default()
    };
    let source = KernelSource::start(&settings).context("cannot start the kernel side")?;
    let backend = source.report().backend.context("a running source has a backend")?;
    let mut bench = Bench {
        source,
        backend,
        empty: Empty::attach(empty, backend)?,
        seen: Seen::default(),
    };
    // Bound after the kernel side was loaded, which takes all processors it can have.
    host::pin(&[1])?;
    bench.talk(Talk::Small)?;
    let mut found = Vec::new();
    for _ in 0..samples {
        found.push(bench.sample()?);
    }
    let mut report = Report::new("kernel");
    report.how(format!(
        "Backend {backend}; the kernel's own run times (bpf_stats, which adds to full and empty programs alike). Both ends of \
         one loopback connection on one processor; {} ms per kind of traffic and sample.",
        TALK.as_millis()
    ));
    report.how(
        "A captured message is a whole small request or response. Of a light record and a folded continuation, the share of \
         other hits in the same traffic is subtracted: they are counted, and what they cost is known from the row before.",
    );
    let all = |pick: &dyn Fn(&Sample) -> f64| found.iter().map(pick).collect::<Vec<f64>>();
    for (name, bar, pick) in [
        (
            "captured message",
            CAPTURED,
            (|sample| sample.captured) as fn(&Sample) -> [Cost; 2],
        ),
        ("light record", LIGHT, |sample| sample.light),
        ("folded continuation", FOLDED, |sample| sample.folded),
    ] {
        for hook in [SENT, RECEIVED] {
            let what = format!("{name}, {}", HOOKS[hook]);
            report.row(&what, "ns", &all(&|sample| pick(sample)[hook].ns));
            report.at_most(
                bar,
                format!("{what}, times empty"),
                "x",
                &all(&|sample| pick(sample)[hook].ratio()),
            );
        }
    }
    report.row("arrival", "ns", &all(&|sample| sample.arrived.ns));
    report.row("arrival, times empty", "x", &all(&|sample| sample.arrived.ratio()));
    for (hook, name) in HOOKS.iter().enumerate() {
        report.row(format!("empty, {name}"), "ns", &all(&|sample| sample.empty[hook]));
    }
    report.row("hits of other programs' traffic", "%", &all(&|sample| sample.foreign));
    Ok(report)
}

/// What one hit costs, and what it would cost if nothing was done, nanoseconds.
#[derive(Clone, Copy, Debug)]
struct Cost {
    ns: f64,
    empty: f64,
}

impl Cost {
    fn ratio(self) -> f64 {
        self.ns / self.empty
    }
}

/// One sample, by hook where there is an array.
#[derive(Clone, Debug)]
struct Sample {
    captured: [Cost; 2],
    light: [Cost; 2],
    folded: [Cost; 2],
    arrived: Cost,
    empty: [f64; 3],
    foreign: f64,
}

/// Everything that is attached.
struct Bench {
    source: KernelSource,
    backend: Backend,
    empty: Empty,
    seen: Seen,
}

/// Runs and nanoseconds of programs, by hook.
#[derive(Clone, Copy, Debug, Default)]
struct Runs {
    runs: [f64; 3],
    ns: [f64; 3],
}

/// Records that came, by direction as in [`HOOKS`].
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    captured: [f64; 2],
    light: [f64; 2],
    folded: f64,
}

/// What one kind of talk came to.
#[derive(Clone, Copy, Debug)]
struct Heard {
    full: Runs,
    empty: Runs,
    seen: Seen,
}

impl Bench {
    fn sample(&mut self) -> Result<Sample> {
        let small = self.talk(Talk::Small)?;
        let continued = self.talk(Talk::Continued)?;
        let bulk = self.talk(Talk::Bulk)?;
        let per_run = |runs: &Runs, hook: usize| runs.ns[hook] / runs.runs[hook];
        let cost = |heard: &Heard, hook: usize, ns: f64| Cost {
            ns,
            empty: per_run(&heard.empty, hook),
        };
        let captured = [SENT, RECEIVED].map(|hook| cost(&small, hook, per_run(&small.full, hook)));
        let light = [SENT, RECEIVED].map(|hook| {
            let others = continued.seen.captured[hook];
            let ns = continued.full.ns[hook] - others * captured[hook].ns;
            cost(&continued, hook, ns / (continued.full.runs[hook] - others))
        });
        let folded = [SENT, RECEIVED].map(|hook| {
            let seen = &bulk.seen;
            let others = seen.captured[hook] + seen.light[hook];
            let others_ns = seen.captured[hook] * captured[hook].ns + seen.light[hook] * light[hook].ns;
            cost(
                &bulk,
                hook,
                (bulk.full.ns[hook] - others_ns) / (bulk.full.runs[hook] - others),
            )
        });
        // Runs that gave neither a record nor a fold were somebody else's.
        let all = [&small, &continued, &bulk];
        let runs: f64 = all
            .iter()
            .map(|heard| heard.full.runs[SENT] + heard.full.runs[RECEIVED])
            .sum();
        let own: f64 = all.iter().map(|heard| heard.seen.all()).sum();
        let empty = [SENT, RECEIVED, ARRIVED].map(|hook| {
            let values: Vec<f64> = all.iter().map(|heard| per_run(&heard.empty, hook)).collect();
            median(&values).unwrap_or(f64::NAN)
        });
        Ok(Sample {
            captured,
            light,
            folded,
            arrived: cost(&small, ARRIVED, per_run(&small.full, ARRIVED)),
            empty,
            foreign: (runs - own).max(0.0) / runs * 100.0,
        })
    }

    /// Has two ends talk, reads the records meanwhile, and gives what was counted.
    fn talk(&mut self, talk: Talk) -> Result<Heard> {
        self.drain(Duration::ZERO)?;
        let (full, empty, folds, lost) = (self.runs(), self.empty.runs()?, self.folds()?, self.lost()?);
        self.seen = Seen::default();
        let mut talkers = talkers(talk)?;
        while talkers.try_wait().context("cannot wait for the talkers")?.is_none() {
            self.drain(Duration::from_millis(5))?;
        }
        ensure!(talkers.wait()?.success(), "the talkers failed");
        let full = self.runs() - full;
        let empty = self.empty.runs()? - empty;
        while self.drain(Duration::ZERO)? > 0 {}
        self.seen.folded = self.folds()? - folds;
        let lost = self.lost()? - lost;
        ensure!(
            lost == 0.0,
            "{lost} records lost: their hits cost less than those that are measured"
        );
        Ok(Heard {
            full,
            empty,
            seen: self.seen,
        })
    }

    fn drain(&mut self, wait: Duration) -> Result<u64> {
        let seen = &mut self.seen;
        let mut records = 0;
        self.source.poll(wait, &mut |record| {
            records += 1;
            let Ok(Record::Data(data, _)) = decode(record) else {
                return;
            };
            let hook = if data.direction == direction::SENT {
                SENT
            } else {
                RECEIVED
            };
            if data.captured > 0 {
                seen.captured[hook] += 1.0;
            } else if data.header.flags & flag::FOLDED == 0 || data.length as usize <= PIECE {
                seen.light[hook] += 1.0;
            }
        })?;
        Ok(records)
    }

    fn runs(&mut self) -> Runs {
        let mut runs = Runs::default();
        for program in self.source.programs() {
            // The kernel cuts names to 15 bytes.
            let hook = HOOKS.iter().position(|hook| {
                let full = format!("{}_{hook}", self.backend);
                program.name == full || (program.name.len() == 15 && full.starts_with(&program.name))
            });
            if let (Some(hook), Some(count), Some(ns)) = (hook, program.runs, program.run_time_ns) {
                runs.runs[hook] += count as f64;
                runs.ns[hook] += ns as f64;
            }
        }
        runs
    }

    fn counter(&mut self, counter: Counter) -> Result<f64> {
        let counters = self.source.counters()?.context("a kernel counts")?;
        Ok(counters[counter as usize] as f64)
    }

    fn folds(&mut self) -> Result<f64> {
        self.counter(Counter::Folded)
    }

    fn lost(&mut self) -> Result<f64> {
        self.counter(Counter::Lost)
    }
}

impl Seen {
    fn all(&self) -> f64 {
        self.captured.iter().chain(&self.light).sum::<f64>() + self.folded
    }
}

impl std::ops::Sub for Runs {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        let each = |now: [f64; 3], before: [f64; 3]| std::array::from_fn(|hook| now[hook] - before[hook]);
        Self {
            runs: each(self.runs, before.runs),
            ns: each(self.ns, before.ns),
        }
    }
}

fn talkers(talk: Talk) -> Result<Child> {
    use clap::ValueEnum as _;
    let kind = talk.to_possible_value().context("every kind of talk has a name")?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["talk", kind.get_name(), "--milliseconds", &TALK.as_millis().to_string()]);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .context("cannot start the talkers")
}

/// Programs that do nothing, on the hooks of one backend.
struct Empty {
    ebpf: Ebpf,
    backend: Backend,
}

impl Empty {
    fn attach(object: &Path, backend: Backend) -> Result<Self> {
        let bytes = fs::read(object).with_context(|| format!("cannot read {}", object.display()))?;
        let btf = Btf::from_sys_fs().context("cannot read the kernel's types")?;
        let mut ebpf = Ebpf::load(&bytes).context("cannot load the empty programs")?;
        let targets = match backend {
            Backend::Tracepoint => ["sock_send_length", "sock_recv_length", "sk_data_ready"],
            Backend::Fentry => ["tcp_sendmsg", "tcp_recvmsg", "sock_def_readable"],
            Backend::Kprobe => ["tcp_sendmsg", "tcp_cleanup_rbuf", "sock_def_readable"],
        };
        for (hook, target) in HOOKS.iter().zip(targets) {
            let name = format!("empty_{backend}_{hook}");
            let program = ebpf
                .program_mut(&name)
                .with_context(|| format!("the object has no {name}"))?;
            let attached = match program {
                Program::BtfTracePoint(program) => program.load(target, &btf).and_then(|()| program.attach().map(drop)),
                Program::FExit(program) => program.load(target, &btf).and_then(|()| program.attach().map(drop)),
                Program::FEntry(program) => program.load(target, &btf).and_then(|()| program.attach().map(drop)),
                Program::KProbe(program) => program.load().and_then(|()| program.attach(target, 0).map(drop)),
                _ => bail!("{name} is of no kind that is expected"),
            };
            attached.with_context(|| format!("cannot attach {name} to {target}"))?;
        }
        Ok(Self { ebpf, backend })
    }

    fn runs(&self) -> Result<Runs> {
        let mut runs = Runs::default();
        for (place, hook) in HOOKS.iter().enumerate() {
            let name = format!("empty_{}_{hook}", self.backend);
            let program = self
                .ebpf
                .program(&name)
                .with_context(|| format!("the object has no {name}"))?;
            let info = program.info()?;
            runs.runs[place] = info.run_count() as f64;
            runs.ns[place] = info.run_time().as_nanos() as f64;
        }
        Ok(runs)
    }
}
