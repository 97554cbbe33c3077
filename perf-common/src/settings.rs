//! What the user side tells the kernel side before it loads: read-only globals, so that the verifier knows their values
//! and drops what is switched off. Each is a symbol of the BPF object with the name in [`names`].

/// Symbol names of the globals.
pub mod names {
    /// `u32`: the agent's own process, never observed.
    pub const OWN_TGID: &str = "OWN_TGID";
    /// `u32`: bytes of a request message that may be copied.
    pub const REQUEST_BUDGET: &str = "REQUEST_BUDGET";
    /// `u32`: bytes of a response message that may be copied.
    pub const RESPONSE_BUDGET: &str = "RESPONSE_BUDGET";
    /// `u32`: bits of [`super::filters`].
    pub const FILTERS: &str = "FILTERS";
    /// `u32`: 1 if positions and lengths are the arguments of the call's entry (kprobe backend).
    pub const OFFSETS: &str = "OFFSETS";
}

/// Bits of the `FILTERS` global: which filters are in use. Includes narrow, excludes take away.
pub mod filters {
    /// Only processes in the process table with [`verdict::INCLUDED`].
    pub const PROCESS_INCLUDE: u32 = 1;
    /// Not processes with [`verdict::EXCLUDED`].
    pub const PROCESS_EXCLUDE: u32 = 1 << 1;
    /// Only connections with a port in the port table as included.
    pub const PORT_INCLUDE: u32 = 1 << 2;
    /// Not connections with a port that is excluded.
    pub const PORT_EXCLUDE: u32 = 1 << 3;
    /// Executables are filtered: judge a process at `execve`.
    pub const EXE: u32 = 1 << 4;
    /// Only processes in a listed control group or below it.
    pub const CGROUP_INCLUDE: u32 = 1 << 5;
    /// Not processes in a control group that is excluded.
    pub const CGROUP_EXCLUDE: u32 = 1 << 6;
}
