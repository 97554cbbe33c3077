//! Functions that the operator chooses: from what was typed to probes on files.
//!
//! [`choice`] reads it, [`files`] finds the file as the shell or the loader would, [`names`] demangles and compares, and
//! [`matching`] says which functions and static probes of the file are meant: all before anything is observed, so that a
//! wrong name is a wrong option. [`probes`] hangs programs on them, and takes them off where they cost too much.

pub mod choice;
#[cfg(feature = "kernel")]
pub mod files;
#[cfg(feature = "kernel")]
pub mod matching;
#[cfg(feature = "kernel")]
mod names;
#[cfg(feature = "kernel")]
pub(crate) mod probes;

use std::path::PathBuf;

use crate::event::FunctionSort;
use choice::Choice;

/// Places of one choice. A pattern that finds more is too wide.
pub const PLACES: usize = 64;

/// A function to observe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// What it is called.
    pub name: String,
    /// What was asked for.
    pub choice: String,
    /// The file that it is in.
    pub file: PathBuf,
    /// What sort of function it is.
    pub sort: FunctionSort,
    /// The symbols or static probes that it is made of.
    pub symbols: Vec<String>,
    /// Where it begins, offsets in the file.
    pub entries: Vec<Spot>,
    /// Where it ends: the instructions by which it is left, or the second of two static probes. None of a function whose
    /// code cannot be read: then its return is trapped.
    pub ends: Vec<Spot>,
    /// Of Go: called with everything on the stack, as before Go 1.17.
    pub go_stack: bool,
    /// Why it cannot be observed.
    pub obstacle: Option<String>,
    /// Why it may be missed, although it is observed.
    pub doubt: Option<&'static str>,
}

/// A place to probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Spot {
    /// Offset in the file.
    pub offset: u64,
    /// Offset in the file of the counter that has to be raised for a static probe to be reached; 0 if there is none.
    pub semaphore: u64,
}

/// The functions that are meant, in the order of the choices.
///
/// # Errors
/// Every fault, in the operator's words.
#[cfg(feature = "kernel")]
pub fn find(choices: &[Choice]) -> Result<Vec<Chosen>, Vec<String>> {
    let (mut found, mut faults) = (Vec::new(), Vec::new());
    for choice in choices {
        match matching::find(choice) {
            Ok(mut functions) => found.append(&mut functions),
            Err(fault) => faults.push(format!("{choice}: {fault}")),
        }
    }
    // One number is for what the agent measures itself by.
    let most = perf_common::function::FUNCTIONS as usize - 1;
    if found.len() > most {
        faults.push(format!("{} functions: at most {most} can be observed", found.len()));
    }
    if faults.is_empty() { Ok(found) } else { Err(faults) }
}

/// What a choice means, however much that is; for an operator who looks around.
///
/// # Errors
/// What is wrong with it, in the operator's words.
#[cfg(feature = "kernel")]
pub fn list(choice: &Choice) -> Result<Vec<Chosen>, String> {
    matching::find_up_to(choice, usize::MAX).map_err(|error| error.to_string())
}

/// Always refuses: this binary can only replay.
///
/// # Errors
/// What is wrong with that.
#[cfg(not(feature = "kernel"))]
pub fn list(_choice: &Choice) -> Result<Vec<Chosen>, String> {
    Err(crate::source::SourceError::NotBuilt.to_string())
}

/// Always refuses: this binary can only replay.
///
/// # Errors
/// What is wrong with that.
#[cfg(not(feature = "kernel"))]
pub fn find(_choices: &[Choice]) -> Result<Vec<Chosen>, Vec<String>> {
    Err(vec![crate::source::SourceError::NotBuilt.to_string()])
}
