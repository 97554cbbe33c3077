//! A sequence of steps with a line and a duration each, the tests they ran, and a summary at the end.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::command;

/// Sums of cargo's `test result:` lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tests {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) ignored: u64,
}

/// How a step ended, if not in an error.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It holds.
    Done,
    /// Tests were run, and a failed one fails the step.
    Tested(Tests),
    /// It could not be tried here, for this reason.
    Skipped(String),
}

/// The steps so far.
pub(crate) struct Steps {
    rows: Vec<Row>,
    tests: Tests,
    started: Instant,
    /// Whether a step that could not be tried is a failure.
    strict: bool,
}

struct Row {
    name: String,
    took: Duration,
    outcome: Result<Outcome>,
}

/// A step failed; the summary says which. Those after it were not tried.
#[derive(Debug)]
pub(crate) struct Failed;

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a step failed")
    }
}

impl std::error::Error for Failed {}

impl Tests {
    /// The sums of the `test result:` lines in a test program's output.
    pub(crate) fn parse(output: &str) -> Self {
        let mut sums = Self::default();
        for line in output.lines() {
            let Some((_, counts)) = line
                .split_once("test result: ")
                .and_then(|(_, rest)| rest.split_once(". "))
            else {
                continue;
            };
            for count in counts.split("; ") {
                let mut words = count.split(' ');
                let number: u64 = words.next().and_then(|word| word.parse().ok()).unwrap_or(0);
                match words.next() {
                    Some("passed") => sums.passed += number,
                    Some("failed") => sums.failed += number,
                    Some("ignored") => sums.ignored += number,
                    _ => {}
                }
            }
        }
        sums
    }
}

impl Steps {
    /// No steps yet; with `strict` a skipped step is a failed one.
    pub(crate) fn new(strict: bool) -> Self {
        Self {
            rows: Vec::new(),
            tests: Tests::default(),
            started: command::now(),
            strict,
        }
    }

    /// Runs a step. The error is [`Failed`]: what went wrong is printed already.
    pub(crate) fn step(&mut self, name: &str, run: impl FnOnce() -> Result<Outcome>) -> Result<(), Failed> {
        println!("\n==== {name}");
        let started = command::now();
        let mut outcome = run();
        match &outcome {
            Ok(Outcome::Tested(tests)) => {
                self.tests.passed += tests.passed;
                self.tests.failed += tests.failed;
                self.tests.ignored += tests.ignored;
                if tests.failed > 0 {
                    outcome = Err(anyhow::anyhow!("{} of its tests failed", tests.failed));
                }
            }
            Ok(Outcome::Skipped(why)) if self.strict => outcome = Err(anyhow::anyhow!("could not be tried: {why}")),
            Ok(_) => {}
            // So that the sums never look like success.
            Err(_) => self.tests.failed += 1,
        }
        let row = Row {
            name: name.to_owned(),
            took: started.elapsed(),
            outcome,
        };
        println!("---- {row}");
        let failed = row.outcome.is_err();
        self.rows.push(row);
        if failed { Err(Failed) } else { Ok(()) }
    }

    /// Prints all steps and the sums of their tests, these last and in a line of their own.
    pub(crate) fn summary(&self) {
        println!("\n==== summary, {:.0} s in all", self.started.elapsed().as_secs_f64());
        for row in &self.rows {
            println!("{row}");
        }
        if self.tests.ignored > 0 {
            println!("{} tests ignored", self.tests.ignored);
        }
        if self.tests == Tests::default() {
            println!("all ok"); // of steps without tests; one that failed would count
        } else {
            println!("{} passed, {} failed", self.tests.passed, self.tests.failed);
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<44} {:>6.1} s  ", self.name, self.took.as_secs_f64())?;
        match &self.outcome {
            Ok(Outcome::Done) => f.write_str("ok"),
            Ok(Outcome::Tested(tests)) => write!(f, "ok, {} tests passed", tests.passed),
            Ok(Outcome::Skipped(why)) => write!(f, "skipped: {why}"),
            Err(error) => write!(f, "FAILED: {error:#}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_lines_are_summed() {
        let output = "running 2 tests\n..\ntest result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out; \
                      finished in 0.01s\n\ntest result: FAILED. 5 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out\n";
        assert_eq!(
            Tests::parse(output),
            Tests {
                passed: 7,
                failed: 1,
                ignored: 1
            }
        );
    }

    #[test]
    fn a_failed_step_without_tests_shows_in_the_sums() {
        let mut steps = Steps::new(false);
        assert!(steps.step("formatting", || Err(anyhow::anyhow!("differs"))).is_err());
        assert_eq!(
            steps.tests,
            Tests {
                passed: 0,
                failed: 1,
                ignored: 0
            }
        );
    }

    #[test]
    fn a_skipped_step_fails_only_where_it_must_not_be_skipped() {
        assert!(
            Steps::new(false)
                .step("root", || Ok(Outcome::Skipped("no root".into())))
                .is_ok()
        );
        assert!(
            Steps::new(true)
                .step("root", || Ok(Outcome::Skipped("no root".into())))
                .is_err()
        );
    }
}
