//! Functions that the operator chose: which invocation begins, and which one ends.
//!
//! An invocation is known by how deep the stack was when it began: where it returns, the stack is as deep again, and what
//! lies further inside was left by another way (an exception, `longjmp`, a panic that was caught) and will not return. A
//! goroutine's stack may be moved while it is in a call, so there the depth counts from the stack's end, which moves too.

use core::hint::black_box;

use aya_ebpf::helpers::bpf_probe_read_user;
use perf_common::{
    function::{Frame, FunctionCounts, Invocations, InvocationsKey, NESTED},
    record::{InvocationRecord, RecordHeader, kind},
};

use crate::{
    emit::{now, reserve, wakeup},
    kernel::Thread,
    maps::{FUNCTION_COUNTS, INVOCATIONS, own_tgid, processor},
    task::running,
};

/// Whose invocation, and how deep the stack is.
#[derive(Clone, Copy)]
pub struct Place {
    /// The function's number.
    pub function: u32,
    /// The thread's number, or the goroutine's address.
    pub who: u64,
    /// More is further inside.
    pub depth: u64,
    /// A goroutine begins a function again when its stack had to grow first.
    pub may_begin_again: bool,
    /// Static probes, at any depth.
    pub is_pair: bool,
}

impl Place {
    fn key(self, thread: Thread) -> InvocationsKey {
        InvocationsKey {
            who: self.who,
            tgid: thread.tgid,
            function: self.function,
        }
    }
}

/// How deep the stack of a goroutine is, counted from its end (`g.stack.hi`, the second word of a goroutine since Go 1.5).
#[inline(always)]
pub fn depth_of_goroutine(goroutine: u64, stack: u64) -> u64 {
    // SAFETY: a user address that may be anything; the helper checks it and fails without side effects.
    let end = unsafe { bpf_probe_read_user((goroutine + 8) as *const u64).unwrap_or(0) };
    end.wrapping_sub(stack)
}

/// An invocation begins.
#[inline(always)]
pub fn entered(thread: Thread, place: Place) {
    let key = place.key(thread);
    let Some(open) = INVOCATIONS.get_ptr_mut(key).or_else(|| first(key)) else {
        return;
    };
    let before = in_use(open);
    if place.is_pair {
        if before as usize >= NESTED {
            set_in_use(open, 0);
        }
    } else {
        leave(open, |inner| inner >= place.depth);
    }
    let count = in_use(open);
    let mut left = before.wrapping_sub(count);
    // Once more, and nothing was left by it.
    let again = place.may_begin_again && left > 0 && frame(open, count).depth == place.depth;
    left -= u32::from(again);
    // SAFETY: a map value stays writable while the program runs; it is the thread's own.
    let deep = unsafe { &mut (*open).deep };
    if left > 0 {
        left += *deep;
        *deep = 0;
    }
    if (count as usize) < NESTED {
        let depth = if place.is_pair { u64::from(count) } else { place.depth };
        let began_ns = now();
        set_frame(open, count, Frame { depth, began_ns });
        set_in_use(open, count + 1);
    } else {
        *deep += 1;
    }
    add(place.function, |counts| {
        counts.entered += u64::from(!again);
        counts.unreturned += u64::from(left);
    });
}

/// An invocation returns.
#[inline(always)]
pub fn returned(thread: Thread, place: Place) {
    let at_ns = now();
    let open = INVOCATIONS.get_ptr_mut(place.key(thread));
    let (mut began_ns, mut left) = (0, 0);
    let (mut known, mut inside) = (false, false);
    if let Some(open) = open {
        let before = in_use(open);
        if !place.is_pair {
            leave(open, |inner| inner > place.depth);
        }
        let count = in_use(open);
        left = before.wrapping_sub(count);
        // SAFETY: a map value stays writable while the program runs; it is the thread's own.
        let deep = unsafe { &mut (*open).deep };
        if count > 0 && (place.is_pair || frame(open, count - 1).depth == place.depth) {
            began_ns = frame(open, count - 1).began_ns;
            set_in_use(open, count - 1);
            (left, known) = (left + *deep, true);
            *deep = 0;
        } else if *deep > 0 {
            *deep -= 1;
            known = true;
        } else {
            // A jump that is taken for a return, in the middle of it.
            inside = count > 0;
        }
    }
    add(place.function, |counts| {
        counts.returned += u64::from(known);
        counts.unentered += u64::from(!known && !inside);
        counts.unreturned += u64::from(left);
        counts.untimed += u64::from(known && began_ns == 0);
    });
    if known {
        tell(thread, place.function, began_ns, at_ns);
    }
}

/// A static probe was hit.
#[inline(always)]
pub fn passed(thread: Thread, function: u32) {
    add(function, |counts| {
        counts.entered += 1;
        counts.returned += 1;
    });
    tell(thread, function, 0, now());
}

// VERIFIER: not on the stack, where there is no room for it.
static NONE: Invocations = Invocations {
    open: 0,
    deep: 0,
    frames: [Frame { depth: 0, began_ns: 0 }; NESTED],
};

/// The first invocation of a thread.
#[inline(always)]
#[expect(
    clippy::needless_borrows_for_generic_args,
    reason = "by value it would be on the stack"
)]
fn first(key: InvocationsKey) -> Option<*mut Invocations> {
    // A full table gives up the thread that called least lately.
    let _full = INVOCATIONS.insert(key, &NONE, 0);
    INVOCATIONS.get_ptr_mut(key)
}

/// Gives up the innermost invocations as long as they lie so deep.
#[inline(always)]
fn leave(open: *mut Invocations, is_left: impl Fn(u64) -> bool) {
    // VERIFIER: what one step leaves to the next lies in the map's value, of which nothing is known: so it finds each step
    // like the one before.
    for _ in 0..NESTED {
        let count = in_use(open);
        if count == 0 || !is_left(frame(open, count - 1).depth) {
            return;
        }
        set_in_use(open, count - 1);
    }
}

#[inline(always)]
fn in_use(open: *mut Invocations) -> u32 {
    // SAFETY: a map value stays readable while the program runs. Volatile, see `leave`.
    unsafe { (&raw const (*open).open).read_volatile() }
}

#[inline(always)]
fn set_in_use(open: *mut Invocations, count: u32) {
    // SAFETY: a map value stays writable while the program runs; it is the thread's own. Volatile, see `leave`.
    unsafe { (&raw mut (*open).open).write_volatile(count) }
}

/// An index that is within the array of frames.
#[inline(always)]
fn within(index: u32) -> usize {
    // VERIFIER: a mask that changes nothing; `black_box` keeps the compiler, which knows the index, from dropping it.
    (black_box(index) & (NESTED as u32 - 1)) as usize
}

#[inline(always)]
fn frame(open: *mut Invocations, index: u32) -> Frame {
    // SAFETY: the index is within the array, whose length is a power of two; the value is the thread's own.
    unsafe { (&raw const (*open).frames).cast::<Frame>().add(within(index)).read() }
}

#[inline(always)]
fn set_frame(open: *mut Invocations, index: u32, frame: Frame) {
    // SAFETY: as in `frame`.
    unsafe {
        (&raw mut (*open).frames)
            .cast::<Frame>()
            .add(within(index))
            .write(frame)
    }
}

#[inline(always)]
fn add(function: u32, change: impl Fn(&mut FunctionCounts)) {
    if let Some(counts) = FUNCTION_COUNTS.get_ptr_mut(function) {
        // SAFETY: the pointer is this processor's value of an existing array entry.
        change(unsafe { &mut *counts });
    }
}

/// Tells of an invocation that returned; not of the agent's own, by which it measures what they cost.
#[inline(always)]
fn tell(thread: Thread, function: u32, began_ns: u64, at_ns: u64) {
    if thread.tgid == own_tgid() {
        return;
    }
    let tid = running(thread);
    let Some((ring, mut entry)) = reserve::<InvocationRecord>(processor()) else {
        return;
    };
    entry.write(InvocationRecord {
        header: RecordHeader {
            kind: kind::INVOCATION,
            flags: 0,
            size: size_of::<InvocationRecord>() as u32,
            at_ns,
        },
        function,
        tgid: thread.tgid,
        tid,
        reserved: 0,
        began_ns,
    });
    entry.submit(wakeup::<InvocationRecord>(ring, at_ns));
}
