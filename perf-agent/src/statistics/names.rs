//! What addresses are called: the names that were asked for when name servers answered with them.
//!
//! A process that asked for a name and then connects to an address of the answer means that name, and of several the one it
//! asked for last. Where the process asked for none itself (its resolver is another process), any other one's name is taken
//! if there is only one: of an address that many share, such as a content network's, nobody else's name says whom this one
//! means.

use std::net::IpAddr;
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};

use crate::exchange::Resolved;

/// Addresses that are kept. Those beyond are counted, and called nothing.
const MAX_ADDRESSES: usize = 8_192;
/// Names of one address that are kept, by process: then the oldest one goes.
const MAX_NAMES: usize = 8;
/// A program connects to an address for so long, whatever the answer's time to live: it keeps answers, or tries again.
const LEAST_NS: u64 = 300 * SECOND_NS;
/// And no longer than that.
const MOST_NS: u64 = 86_400 * SECOND_NS;
const SECOND_NS: u64 = 1_000_000_000;
/// Of so many processes the end is heeded.
const MAX_ASKERS: usize = 16_384;
/// Stands for a process that is gone: its number may be another's soon.
const NOBODY: u32 = 0;

/// A name of an address.
#[derive(Clone, Debug)]
struct Known {
    tgid: u32,
    name: Arc<str>,
    asked_ns: u64,
    until_ns: u64,
}

/// The names of one address.
#[derive(Debug, Default)]
struct Names {
    all: Vec<Known>,
    /// There were more: those of other processes say nothing until then.
    crowded_until_ns: u64,
}

/// The table.
#[derive(Debug, Default)]
pub(super) struct PeerNames {
    addresses: HashMap<IpAddr, Names>,
    /// Processes that asked.
    askers: HashSet<u32>,
}

impl PeerNames {
    /// A process was answered. Gives how many addresses could not be kept.
    pub(super) fn learn(&mut self, resolved: &Resolved<'_>) -> usize {
        let now_ns = resolved.at_ns;
        if self.askers.len() < MAX_ASKERS {
            self.askers.insert(resolved.tgid);
        }
        // Most answers say what is known.
        let mut name = None;
        let mut dropped = 0;
        for address in resolved.addresses {
            if !self.addresses.contains_key(address) && self.addresses.len() >= MAX_ADDRESSES {
                self.forget_old(now_ns);
                if self.addresses.len() >= MAX_ADDRESSES {
                    dropped += 1;
                    continue;
                }
            }
            self.addresses.entry(*address).or_default().learn(resolved, &mut name);
        }
        dropped
    }

    /// What a process means by an address that it connected to at this moment.
    pub(super) fn of(&self, tgid: u32, address: IpAddr, at_ns: u64) -> Option<Arc<str>> {
        let names = self.addresses.get(&address)?;
        let valid = |known: &&Known| (known.asked_ns..=known.until_ns).contains(&at_ns);
        let own = names.all.iter().filter(valid).filter(|known| known.tgid == tgid);
        if let Some(known) = own.max_by_key(|known| known.asked_ns) {
            return Some(Arc::clone(&known.name));
        }
        let mut others = names.all.iter().filter(valid);
        let first = others.next().filter(|_| at_ns > names.crowded_until_ns)?;
        others
            .all(|known| known.name == first.name)
            .then(|| Arc::clone(&first.name))
    }

    /// A process ended, or runs another program, which asked for nothing: its names are somebody's.
    pub(super) fn exited(&mut self, tgid: u32) {
        if self.askers.remove(&tgid) {
            let all = self.addresses.values_mut().flat_map(|names| &mut names.all);
            all.filter(|known| known.tgid == tgid)
                .for_each(|known| known.tgid = NOBODY);
        }
    }

    /// Heap bytes held.
    pub(super) fn heap_bytes(&self) -> usize {
        let of = |names: &Names| {
            let texts: usize = names.all.iter().map(|known| known.name.len()).sum();
            names.all.capacity() * size_of::<Known>() + texts
        };
        self.addresses.allocation_size()
            + self.askers.allocation_size()
            + self.addresses.values().map(of).sum::<usize>()
    }

    fn forget_old(&mut self, now_ns: u64) {
        self.addresses.retain(|_, names| {
            names.all.retain(|known| known.until_ns >= now_ns);
            !names.all.is_empty()
        });
    }
}

impl Names {
    /// An answer holds the address. `name` is the name that was asked for, once it was needed.
    fn learn(&mut self, resolved: &Resolved<'_>, name: &mut Option<Arc<str>>) {
        let asked_ns = resolved.at_ns;
        let lives_ns = (u64::from(resolved.ttl_s) * SECOND_NS).clamp(LEAST_NS, MOST_NS);
        let until_ns = asked_ns.saturating_add(lives_ns);
        let same = |known: &&mut Known| known.tgid == resolved.tgid && *known.name == *resolved.name;
        if let Some(known) = self.all.iter_mut().find(same) {
            (known.asked_ns, known.until_ns) = (asked_ns, until_ns);
            return;
        }
        self.all.retain(|other| other.until_ns >= asked_ns);
        if self.all.len() >= MAX_NAMES {
            let oldest = (0..self.all.len()).min_by_key(|place| self.all[*place].asked_ns);
            let gone = self.all.swap_remove(oldest.unwrap_or_default());
            self.crowded_until_ns = self.crowded_until_ns.max(gone.until_ns);
        }
        let name = name.get_or_insert_with(|| resolved.name.into());
        self.all.push(Known {
            tgid: resolved.tgid,
            name: Arc::clone(name),
            asked_ns,
            until_ns,
        });
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const S: u64 = SECOND_NS;

    fn address(last: u8) -> IpAddr {
        Ipv4Addr::new(10, 1, 1, last).into()
    }

    fn learn(names: &mut PeerNames, tgid: u32, name: &str, at_s: u64, ttl_s: u32) {
        let resolved = Resolved {
            tgid,
            name,
            addresses: &[address(1), address(2)],
            ttl_s,
            at_ns: at_s * S,
        };
        assert_eq!(names.learn(&resolved), 0);
    }

    #[track_caller]
    fn check(names: &PeerNames, tgid: u32, at_s: u64, expected: Option<&str>) {
        assert_eq!(names.of(tgid, address(1), at_s * S).as_deref(), expected);
    }

    #[test]
    fn a_process_means_what_it_asked_for_last() {
        let mut names = PeerNames::default();
        learn(&mut names, 7, "a.test", 10, 0);
        check(&names, 7, 9, None);
        check(&names, 7, 11, Some("a.test"));
        learn(&mut names, 7, "b.test", 20, 0);
        check(&names, 7, 21, Some("b.test"));
        learn(&mut names, 7, "a.test", 30, 0);
        check(&names, 7, 31, Some("a.test"));
        assert_eq!(names.of(7, address(3), 31 * S), None);
    }

    #[test]
    fn a_name_is_kept_as_long_as_it_lives_and_some_minutes_at_least() {
        let mut names = PeerNames::default();
        learn(&mut names, 7, "short.test", 0, 5);
        check(&names, 7, 300, Some("short.test"));
        check(&names, 7, 301, None);
        learn(&mut names, 7, "long.test", 400, u32::MAX);
        check(&names, 7, 400 + 86_400, Some("long.test"));
        check(&names, 7, 401 + 86_400, None);
    }

    #[test]
    fn anothers_name_is_taken_where_it_is_the_only_one() {
        let mut names = PeerNames::default();
        learn(&mut names, 1, "a.test", 0, 0);
        check(&names, 7, 1, Some("a.test"));
        learn(&mut names, 2, "a.test", 2, 0);
        check(&names, 7, 3, Some("a.test"));
        learn(&mut names, 2, "b.test", 4, 0);
        check(&names, 7, 5, None);
        check(&names, 1, 5, Some("a.test"));
        // More than are kept: none of those that are left is the only one.
        let mut names = PeerNames::default();
        learn(&mut names, 1, "a.test", 0, 0);
        (2..10).for_each(|tgid| learn(&mut names, tgid, "b.test", 1, 0));
        check(&names, 100, 2, None);
        check(&names, 9, 2, Some("b.test"));
    }

    #[test]
    fn a_number_that_is_used_again_is_another_process() {
        let mut names = PeerNames::default();
        learn(&mut names, 7, "a.test", 0, 0);
        learn(&mut names, 8, "b.test", 0, 0);
        check(&names, 7, 1, Some("a.test"));
        names.exited(7);
        check(&names, 7, 1, None);
        check(&names, 8, 1, Some("b.test"));
    }

    #[test]
    fn it_is_bounded() {
        let mut names = PeerNames::default();
        let learn = |names: &mut PeerNames, n: u32, at_s: u64| {
            names.learn(&Resolved {
                tgid: n,
                name: "a.test",
                addresses: &[Ipv4Addr::from(n).into()],
                ttl_s: 0,
                at_ns: at_s * S,
            })
        };
        let dropped: usize = (0..20_000).map(|n| learn(&mut names, n, 0)).sum();
        assert_eq!(dropped, 20_000 - MAX_ADDRESSES);
        assert!(names.heap_bytes() < 4 << 20, "{}", names.heap_bytes());
        assert_eq!(learn(&mut names, 30_000, 301), 0, "room for what comes later");
        assert_eq!(names.addresses.len(), 1);
    }
}
