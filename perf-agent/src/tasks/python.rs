//! Where CPython keeps the context of each thread (PEP 567). Every task of asyncio runs in one of its own, so its address
//! names the task (of contexts that programs enter themselves the same holds).
//!
//! No layout of a version is known here. What is searched for shows itself: an interpreter's state points back to the
//! runtime (`_PyRuntime`, which the dynamic linker knows); a thread's state begins with its neighbours and its
//! interpreter; a context is an object of the type `PyContext_Type`. A thread's state has the address of the C library's
//! storage of that thread, which has its own address twice (`tcbhead_t` of glibc, `sysdeps/x86_64/nptl/tls.h`), and near which
//! the state's address stands again: as a value of `pthread_setspecific`, or a variable of the thread. So it is in CPython
//! 3.9 to 3.13 (`Include/cpython/pystate.h`).

use std::fs::File;
use std::os::unix::fs::FileExt;

use crate::image::PythonSymbols;

/// Words of the runtime that may point to the first interpreter, of an interpreter to the runtime and its first thread, of
/// a thread to its context and its storage.
const RUNTIME_WORDS: usize = 512;
const INTERPRETER_WORDS: usize = 2048;
const THREAD_WORDS: usize = 256;
/// Words of a thread's storage: its variables before the place that names it, what the C library keeps behind.
const STORAGE_WORDS_BEFORE: u64 = 1024;
const STORAGE_WORDS_BEHIND: u64 = 320;
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

/// Where each thread keeps its context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Places {
    /// Of the address of its state, counted from its storage.
    state: i32,
    /// In that, of the address of its context.
    context: u32,
}

impl Places {
    /// As the kernel side's map has it.
    pub(super) fn packed(self) -> u64 {
        u64::from(self.context) << 32 | u64::from(self.state.cast_unsigned())
    }
}

/// Nothing if no thread has a context yet, or the layout is another one.
pub(super) fn places(tgid: u32, symbols: &PythonSymbols) -> Option<Places> {
    let memory = File::open(format!("/proc/{tgid}/mem")).ok()?;
    find(&memory, symbols)
}

fn find(memory: &impl Memory, symbols: &PythonSymbols) -> Option<Places> {
    let states = thread_states(memory, symbols.runtime);
    let is_context = |word: &u64| is_pointer(*word) && memory.words(*word, 2).get(1) == Some(&symbols.context_type);
    // The same place in each: that of one that has a context is that of all.
    let context = states
        .iter()
        .find_map(|(_, words)| words.iter().position(&is_context))?;
    let mut common: Option<Vec<i32>> = None;
    for (state, words) in &states {
        let Some(storage) = words.iter().find(|word| is_storage(memory, **word)) else {
            continue;
        };
        let found = places_of(memory, *storage, *state);
        match &mut common {
            None => common = Some(found),
            Some(common) => common.retain(|place| found.contains(place)),
        }
    }
    // A variable of the thread may be empty while it waits in a system call: what the C library keeps never is.
    let state = common?
        .into_iter()
        .min_by_key(|place| (*place < 0, place.unsigned_abs()))?;
    Some(Places {
        state,
        context: u32::try_from(8 * context).ok()?,
    })
}

/// Is that the address of a thread's storage?
fn is_storage(memory: &impl Memory, word: u64) -> bool {
    is_pointer(word) && matches!(memory.words(word, 3)[..], [first, _, third] if first == word && third == word)
}

/// Where around a thread's storage the address of its state stands, in bytes.
fn places_of(memory: &impl Memory, storage: u64, state: u64) -> Vec<i32> {
    // What lies before may begin with the mapping.
    let before = storage.saturating_sub(8 * STORAGE_WORDS_BEFORE);
    let page = |address: u64| memory.words(address, 512);
    let mut found = Vec::new();
    let mut at = before & !0xfff;
    while at < storage + 8 * STORAGE_WORDS_BEHIND {
        for (address, word) in (at..).step_by(8).zip(page(at)) {
            let place = address.wrapping_sub(storage).cast_signed();
            if word == state
                && let Ok(place) = i32::try_from(place)
            {
                found.push(place);
            }
        }
        at += 0x1000;
    }
    found
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
        let (storage_one, storage_two) = (0x700_0740, 0x800_0740);
        HashMap::from([
            (runtime, 0x7fff_0000_0000),
            (runtime + 8 * 7, interpreter),
            (interpreter + 8 * 5, runtime),
            (interpreter + 8 * 2, one),
            (one + 8, two),
            (one + 16, interpreter),
            (one + 8 * 20, storage_one),
            (two, one),
            (two + 16, interpreter),
            (two + 8 * 20, storage_two),
            (two + 8 * 28, context),
            (context + 8, 0x60_0000),
            (storage_one, storage_one),
            (storage_one + 16, storage_one),
            (storage_one + 0x318, one),
            (storage_one - 8, one),
            (storage_two, storage_two),
            (storage_two + 16, storage_two),
            (storage_two + 0x318, two),
            // One thread has its state in yet another place.
            (storage_two + 0x300, two),
        ])
    }

    #[test]
    fn contexts_are_found_by_what_points_to_them() {
        let places = find(&Sparse(process()), &SYMBOLS).expect("found");
        let expected = Places {
            state: 0x318,
            context: 8 * 28,
        };
        assert_eq!(places, expected);
        assert_eq!(places.packed(), ((8 * 28) << 32) | 0x318);
        let before = Places { state: -8, ..places };
        assert_eq!(before.packed(), ((8 * 28) << 32) | 0xffff_fff8);
    }

    #[test]
    fn without_a_context_or_a_storage_nothing_is_claimed() {
        let mut other = process();
        other.insert(0x400_0008, 0x60_0008);
        assert_eq!(find(&Sparse(other), &SYMBOLS), None);
        let mut other = process();
        other.insert(0x700_0750, 1);
        other.insert(0x800_0750, 1);
        assert_eq!(find(&Sparse(other), &SYMBOLS), None);
        assert_eq!(find(&Sparse(HashMap::new()), &SYMBOLS), None);
    }

    #[test]
    fn rings_of_threads_end() {
        let mut ring = process();
        ring.insert(0x300_0008, 0x200_0000);
        ring.insert(0x200_0000, 0x300_0000);
        assert_eq!(thread_states(&Sparse(ring), SYMBOLS.runtime).len(), 2);
    }
}
