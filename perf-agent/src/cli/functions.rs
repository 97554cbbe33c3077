//! `perf-agent functions`

use std::fmt::Write;

use clap::Args;

use super::options::Faults;
use super::{Failure, output};
use crate::functions::choice::Choice;
use crate::functions::{self, Chosen, PLACES};

/// Options of `functions`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  What a name means:
    perf-agent functions libc.so.6:getaddrinfo
  What there is (in quotes, or the shell looks for files):
    perf-agent functions '/usr/bin/shop:shop::*'
  The static probes of a program:
    perf-agent functions 'usdt:libstdc++.so.6:libstdcxx:*'

Then:
  sudo perf-agent run --function '/usr/bin/shop:shop::checkout=checkout'
  curl http://127.0.0.1:9955/api/v1/functions")]
pub struct Functions {
    /// As --function takes it: FILE:SYMBOL, with * and ?, or usdt:FILE:PROVIDER:PROBE.
    #[arg(value_name = "FUNCTION", required = true)]
    choices: Vec<String>,
}

impl Functions {
    /// Shows what the choices mean; probes nothing.
    ///
    /// # Errors
    /// [`Failure`]
    pub fn execute(&self) -> Result<(), Failure> {
        let mut faults = Faults::default();
        let mut text = String::new();
        for choice in &self.choices {
            match Choice::parse(choice)
                .map_err(|error| error.to_string())
                .and_then(|choice| functions::list(&choice))
            {
                Ok(found) => show(&mut text, choice, &found),
                Err(fault) => faults.add(format!("{choice}: {fault}")),
            }
        }
        faults.none_or(())?;
        output::say(text.trim_end());
        Ok(())
    }
}

fn show(text: &mut String, choice: &str, found: &[Chosen]) {
    let places: usize = found.iter().map(|one| one.entries.len()).sum();
    let file = found
        .first()
        .map(|one| one.file.display().to_string())
        .unwrap_or_default();
    let _infallible = writeln!(text, "{choice}: {} functions, {places} places in {file}", found.len());
    for one in found {
        let obstacle = one
            .obstacle
            .as_ref()
            .map_or_else(String::new, |obstacle| format!("  (not: {obstacle})"));
        let doubt = one.doubt.map_or_else(String::new, |doubt| format!("  (but: {doubt})"));
        let others = one.symbols.iter().filter(|symbol| **symbol != one.name).count();
        let symbols = match others {
            0 => String::new(),
            1 if one.symbols.len() == 1 => format!("  {}", one.symbols[0]),
            _ => format!("  {} symbols", one.symbols.len()),
        };
        let _infallible = writeln!(text, "  {}{symbols}{obstacle}{doubt}", one.name);
    }
    if places > PLACES {
        let _infallible = writeln!(
            text,
            "more than {PLACES} places: too many to be observed by one --function"
        );
    }
}
