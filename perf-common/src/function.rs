//! Functions chosen by the operator: what both sides know of one.

/// Most functions that can be chosen.
pub const FUNCTIONS: u32 = 1024;
/// Invocations of one function that a thread can be in at once and that are timed: a function that calls itself more
/// often is counted, and of what is further inside no time is known.
pub const NESTED: usize = 32;

/// What a probe is told when it is attached: the function's number in the low half, and how its invocations are kept
/// apart.
pub mod cookie {
    /// It is Go's, and called with the goroutine in a register.
    pub const GO_REGISTERS: u64 = 1 << 32;
    /// It is Go's, and called with everything on the stack.
    pub const GO_STACK: u64 = 1 << 33;
    /// Its beginning and its end are two static probes, which may be hit at any depth of the stack.
    pub const PAIR: u64 = 1 << 34;
}

/// What the kernel side counts of one function on one processor. The user side adds the processors up.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FunctionCounts {
    /// Invocations that began; of a single static probe, hits.
    pub entered: u64,
    /// Of them, those that returned.
    pub returned: u64,
    /// Of them, those that will not return: left by an exception, by `longjmp`, or by a way that no probe sees.
    pub unreturned: u64,
    /// Returns of invocations of which the beginning was not seen.
    pub unentered: u64,
    /// Of those that returned, those of which no time is known: further inside than [`NESTED`].
    pub untimed: u64,
}

/// Bytes of [`FunctionCounts`], as the map holds them.
pub const COUNTS_BYTES: usize = size_of::<FunctionCounts>();
const _: () = assert!(COUNTS_BYTES == 40);

impl FunctionCounts {
    /// From the bytes of a map's value.
    pub fn from_bytes(bytes: &[u8; COUNTS_BYTES]) -> Self {
        let at = |index: usize| {
            let mut value = [0; 8];
            value.copy_from_slice(&bytes[8 * index..8 * index + 8]);
            u64::from_le_bytes(value)
        };
        Self {
            entered: at(0),
            returned: at(1),
            unreturned: at(2),
            unentered: at(3),
            untimed: at(4),
        }
    }

    /// Adds another processor's.
    pub fn add(&mut self, other: &Self) {
        self.entered += other.entered;
        self.returned += other.returned;
        self.unreturned += other.unreturned;
        self.unentered += other.unentered;
        self.untimed += other.untimed;
    }
}

/// Whose invocations, of which function.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvocationsKey {
    /// The thread's number, or the address of the goroutine.
    pub who: u64,
    /// The process.
    pub tgid: u32,
    /// The function's number.
    pub function: u32,
}

/// An invocation that has not returned.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// How deep the stack was at its beginning: more is further inside.
    pub depth: u64,
    /// When it began.
    pub began_ns: u64,
}

/// The invocations of one function that one thread or goroutine is in, outermost first.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Invocations {
    /// Frames in use.
    pub open: u32,
    /// Invocations further inside.
    pub deep: u32,
    /// See `open`.
    pub frames: [Frame; NESTED],
}

/// Bytes of [`Invocations`], as the map holds them.
pub const INVOCATIONS_BYTES: usize = size_of::<Invocations>();
const _: () = assert!(INVOCATIONS_BYTES == 520);

/// How many invocations a value of the map stands for.
pub fn in_flight(bytes: &[u8; INVOCATIONS_BYTES]) -> u32 {
    let at = |index: usize| u32::from_le_bytes([bytes[index], bytes[index + 1], bytes[index + 2], bytes[index + 3]]);
    at(0).saturating_add(at(4))
}
