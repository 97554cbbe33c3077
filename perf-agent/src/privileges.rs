//! What the agent may do once its programs are attached: as little as its work needs.
//!
//! Capabilities belong to the thread, and a new thread inherits its creator's: each drops what it does not need before it
//! starts another.

use rustix::io::Errno;
use rustix::thread::{
    CapabilitiesSecureBits, CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set,
    remove_capability_from_bounding_set, set_capabilities, set_capabilities_secure_bits, set_no_new_privs,
};

/// What observing needs after the start: the counters, sums and filters in the programs' maps (kernels before 5.19 ask
/// for `CAP_BPF` even with an open descriptor), and the Unix sockets in other users' network namespaces.
const OBSERVING: CapabilitySet = CapabilitySet::BPF.union(CapabilitySet::SYS_PTRACE);

/// What probing TLS libraries needs besides: files of other users, and `/proc/pid/map_files`.
const PROBING: CapabilitySet = OBSERVING
    .union(CapabilitySet::DAC_READ_SEARCH)
    .union(CapabilitySet::CHECKPOINT_RESTORE);

/// And where each probe is a perf event: those (`CAP_SYS_ADMIN` on the stable kernels that have the fix of CVE-2025-38466
/// alone).
const PROBING_BY_PERF_EVENTS: CapabilitySet = PROBING.union(CapabilitySet::PERFMON).union(CapabilitySet::SYS_ADMIN);

/// What the thread goes on with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// It reads the kernel's maps and `/proc`.
    Observe,
    /// It looks into the files that processes map, and probes them.
    Probe,
    /// The same, on a kernel where each probe is a perf event.
    ProbeByPerfEvents,
    /// It reads a file that is open.
    Replay,
}

/// Gives up every capability that the purpose does not need, in all sets, for this thread and those that it starts; and
/// the possibility to gain any by `execve`. What the process never had is no error.
///
/// # Errors
/// If the kernel refuses to take capabilities away.
pub fn drop_what_is_not_needed(purpose: Purpose) -> Result<(), Errno> {
    let kept = match purpose {
        Purpose::Observe => OBSERVING,
        Purpose::Probe => PROBING,
        Purpose::ProbeByPerfEvents => PROBING_BY_PERF_EVENTS,
        Purpose::Replay => CapabilitySet::empty(),
    };
    let current = capabilities(None)?;
    if current.permitted.contains(CapabilitySet::SETPCAP) && current.effective.contains(CapabilitySet::SETPCAP) {
        for capability in CapabilitySet::all().difference(kept).iter() {
            // EINVAL: this kernel knows fewer capabilities.
            if capability_is_in_bounding_set(capability).unwrap_or(false) {
                remove_capability_from_bounding_set(capability)?;
            }
        }
        let bits = CapabilitiesSecureBits::NO_ROOT
            | CapabilitiesSecureBits::NO_ROOT_LOCKED
            | CapabilitiesSecureBits::NO_SETUID_FIXUP
            | CapabilitiesSecureBits::NO_SETUID_FIXUP_LOCKED
            | CapabilitiesSecureBits::KEEP_CAPS_LOCKED;
        set_capabilities_secure_bits(bits)?;
    }
    let left = current.permitted.intersection(kept);
    set_capabilities(
        None,
        CapabilitySets {
            effective: left,
            permitted: left,
            inheritable: CapabilitySet::empty(),
        },
    )?;
    set_no_new_privs(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_what_is_needed_is_left() {
        // In a thread of its own, since it cannot be undone.
        let left = std::thread::spawn(|| {
            let before = capabilities(None).unwrap().permitted;
            drop_what_is_not_needed(Purpose::ProbeByPerfEvents).unwrap();
            assert_eq!(
                capabilities(None).unwrap().permitted,
                before.intersection(PROBING_BY_PERF_EVENTS)
            );
            drop_what_is_not_needed(Purpose::Probe).unwrap();
            assert_eq!(capabilities(None).unwrap().permitted, before.intersection(PROBING));
            drop_what_is_not_needed(Purpose::Observe).unwrap();
            let after = capabilities(None).unwrap();
            assert_eq!(after.effective, before.intersection(OBSERVING));
            assert_eq!(after.permitted, after.effective);
            drop_what_is_not_needed(Purpose::Replay).unwrap();
            (capabilities(None).unwrap(), rustix::thread::no_new_privs().unwrap())
        });
        let (sets, no_new_privs) = left.join().unwrap();
        assert!(sets.effective.is_empty() && sets.permitted.is_empty() && sets.inheritable.is_empty());
        assert!(no_new_privs);
    }
}
