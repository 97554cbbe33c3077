//! Where CPython keeps the context of each thread (PEP 567). Every task of asyncio runs in one of its own, so its address
//! names the task (of contexts that programs enter themselves the same holds).
//!
//! No layout of a version is known here. What is searched for shows itself: an interpreter's state points back to the
//! runtime (`_PyRuntime`, which the dynamic linker knows); a thread's state begins with its neighbours and its
//! interpreter, and has the thread's number in it; a context is an object of the type `PyContext_Type`. So it is in CPython
//! 3.11 to 3.14 (`Include/internal/pycore_interp.h`, `Include/cpython/pystate.h`); before 3.11 a thread's state has no number,
//! and nothing is found but for the main thread of a program with one.

use std::collections::HashSet;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use crate::image::PythonSymbols;

/// Words of the runtime that may point to the first interpreter, of an interpreter to the runtime and its first thread, of
/// a thread to its context.
const RUNTIME_WORDS: usize = 512;
const INTERPRETER_WORDS: usize = 2048;
const THREAD_WORDS: usize = 256;
/// Threads of one process that are looked at.
const THREADS: usize = 1024;

/// A process's memory.
trait Memory {
    /// So many words from an address on, fewer if there are no more; none if nothing is there.
    fn words(&self, address: u64, count: usize) -> Vec<u64>;
}

impl Memory for File {
    fn words(&self, address: u64, count: usize) -> Vec<u64> {
        let mut bytes = vec![0; count * 8];
        let read = self.read_at(&mut bytes, address).unwrap_or(0);
        let (words, _) = bytes[..read].as_chunks::<8>();
        words.iter().map(|word| u64::from_le_bytes(*word)).collect()
    }
}

/// Where the address of each thread's context stands: number of the thread, and address.
pub(super) fn contexts(tgid: u32, symbols: &PythonSymbols) -> Vec<(u32, u64)> {
    let Ok(memory) = File::open(format!("/proc/{tgid}/mem")) else {
        return Vec::new();
    };
    let threads = fs::read_dir(format!("/proc/{tgid}/task"))
        .into_iter()
        .flatten()
        .flatten();
    let threads: HashSet<u32> = threads
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .take(THREADS)
        .collect();
    find(&memory, symbols, &threads, tgid)
}

fn find(memory: &impl Memory, symbols: &PythonSymbols, threads: &HashSet<u32>, main: u32) -> Vec<(u32, u64)> {
    let states = thread_states(memory, symbols.runtime);
    let is_context = |word: &u64| is_pointer(*word) && memory.words(*word, 2).get(1) == Some(&symbols.context_type);
    // The same place in each: that of one that has a context is that of all.
    let context_place = states.iter().find_map(|(_, words)| words.iter().position(&is_context));
    let number_of = |word: &u64| u32::try_from(*word).ok().filter(|number| threads.contains(number));
    // Small numbers may be anything: it is the place that holds a thread's number in all of them.
    let number_place = (3..THREAD_WORDS).find(|place| {
        let numbers: Vec<_> = states
            .iter()
            .map(|(_, words)| words.get(*place).and_then(number_of))
            .collect();
        let different: HashSet<_> = numbers.iter().flatten().collect();
        !numbers.is_empty() && different.len() == numbers.len() && different.contains(&main)
    });
    let Some(context_place) = context_place else {
        return Vec::new();
    };
    let place = |state: u64| state + 8 * context_place as u64;
    match number_place {
        Some(number_place) => states
            .iter()
            .filter_map(|(state, words)| Some((words.get(number_place).and_then(number_of)?, place(*state))))
            .collect(),
        None if states.len() == 1 => vec![(main, place(states[0].0))],
        None => Vec::new(),
    }
}

/// The states of the main interpreter's threads, and their first words.
fn thread_states(memory: &impl Memory, runtime: u64) -> Vec<(u64, Vec<u64>)> {
    let interpreters = memory
        .words(runtime, RUNTIME_WORDS)
        .into_iter()
        .filter(|word| is_pointer(*word));
    for interpreter in interpreters {
        let words = memory.words(interpreter, INTERPRETER_WORDS);
        if interpreter == runtime || !words.contains(&runtime) {
            continue;
        }
        let begins_state = |state: &u64| is_pointer(*state) && memory.words(*state, 3).get(2) == Some(&interpreter);
        let Some(&first) = words.iter().find(|word| begins_state(word)) else {
            continue;
        };
        // Both ways from there: the first word leads to the one before, the second to the next.
        let mut states = vec![(first, memory.words(first, THREAD_WORDS))];
        for way in [0, 1] {
            let mut at = states[0].1.get(way).copied().unwrap_or(0);
            while is_pointer(at) && states.len() < THREADS {
                let words = memory.words(at, THREAD_WORDS);
                if words.get(2) != Some(&interpreter) || states.iter().any(|(state, _)| *state == at) {
                    break;
                }
                let next = words[way];
                states.push((at, words));
                at = next;
            }
        }
        return states;
    }
    Vec::new()
}

/// Could this be the address of an object?
fn is_pointer(word: u64) -> bool {
    word > 0xffff && word < 1 << 47 && word.is_multiple_of(8)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    /// Memory of which only some words are not 0.
    struct Sparse(HashMap<u64, u64>);

    impl Memory for Sparse {
        fn words(&self, address: u64, count: usize) -> Vec<u64> {
            if !self.0.keys().any(|at| at.abs_diff(address) < 0x1000) {
                return Vec::new();
            }
            (0..count as u64)
                .map(|word| self.0.get(&(address + 8 * word)).copied().unwrap_or(0))
                .collect()
        }
    }

    const SYMBOLS: PythonSymbols = PythonSymbols {
        runtime: 0x50_0000,
        context_type: 0x60_0000,
        first_address: 0,
    };

    /// A runtime, its interpreter at word 7, and two threads, of which the second one has a context.
    fn process() -> HashMap<u64, u64> {
        let (runtime, interpreter, one, two, context) = (0x50_0000, 0x100_0000, 0x200_0000, 0x300_0000, 0x400_0000);
        HashMap::from([
            (runtime, 0x7fff_0000_0000),
            (runtime + 8 * 7, interpreter),
            (interpreter + 8 * 5, runtime),
            (interpreter + 8 * 2, one),
            (one + 8, two),
            (one + 16, interpreter),
            (one + 8 * 20, 701),
            (one + 8 * 21, 700),
            (two, one),
            (two + 16, interpreter),
            (two + 8 * 20, 700),
            (two + 8 * 21, 700),
            (two + 8 * 28, context),
            (context + 8, 0x60_0000),
        ])
    }

    #[test]
    fn contexts_are_found_by_what_points_to_them() {
        let threads = HashSet::from([700, 701]);
        let mut found = find(&Sparse(process()), &SYMBOLS, &threads, 700);
        found.sort_unstable();
        assert_eq!(found, [(700, 0x300_0000 + 8 * 28), (701, 0x200_0000 + 8 * 28)]);
    }

    #[test]
    fn without_a_context_or_a_number_nothing_is_claimed() {
        let threads = HashSet::from([700, 701]);
        let mut other = process();
        other.insert(0x400_0008, 0x60_0008);
        assert_eq!(find(&Sparse(other), &SYMBOLS, &threads, 700), []);
        let mut other = process();
        other.insert(0x200_0000 + 8 * 20, 999);
        assert_eq!(find(&Sparse(other), &SYMBOLS, &threads, 700), []);
        assert_eq!(find(&Sparse(HashMap::new()), &SYMBOLS, &threads, 700), []);
    }

    #[test]
    fn rings_of_threads_end() {
        let mut ring = process();
        ring.insert(0x300_0008, 0x200_0000);
        ring.insert(0x200_0000, 0x300_0000);
        assert_eq!(thread_states(&Sparse(ring), SYMBOLS.runtime).len(), 2);
    }
}
