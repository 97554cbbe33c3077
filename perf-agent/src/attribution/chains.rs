//! Chains of calls that follow from each other, for a request of which it is not known yet which one it is.
//!
//! A loop reads about several at once, and says several things: who said what? Something is known of that: as many spoke as
//! were read about; and who is dealt with first speaks first, among those that speak in the same way. So a [`Group`] has
//! places, one for each that was read about, and each thing said has places left that it may have come from. What is left is
//! made fewer with all that is learnt later: above all when a chain comes to the answer to a request, and so was its chain.

use std::collections::VecDeque;

use super::{Inbound, Outbound, Requests, Served};
use crate::exchange::Ticket;

/// Chains of a loop that are kept; the oldest go first.
const CHAINS: usize = 1024;
/// Groups of a loop, likewise.
const GROUPS: usize = 256;
/// States that are looked at to divide a group's calls among its members; larger ones are not divided.
const STATES: usize = 16_384;
/// Members of a group.
pub(super) const MEMBERS: usize = 64;
/// The ticket of a chain: no exchange has it.
const CHAIN: Ticket = Ticket(u32::MAX);
/// Somebody of whom nothing is known.
pub(super) const UNKNOWN: Inbound = Inbound {
    ticket: Ticket(u32::MAX - 1),
    serial: 0,
};

/// How somebody spoke: those that spoke in the same way did so in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// By an answer to its client.
    Answer,
    /// By a call to this peer.
    Call(u32),
    /// By a call to this peer that was kept back.
    KeptBack(u32),
    /// By one on a connection that had to be made first.
    Connected,
}

impl Way {
    fn keeps_the_order_of(self, other: Self) -> bool {
        self == other && self != Self::Connected
    }
}

/// The chains of a loop.
#[derive(Debug, Default)]
pub(super) struct Chains {
    /// By number, less that of the first.
    all: VecDeque<Chain>,
    /// By number, less that of the first.
    groups: VecDeque<Group>,
    /// Groups that are not kept any more.
    groups_gone: u64,
    /// Chains that there were.
    count: u64,
    /// Calls that were found to be a request's when they had ended.
    found: u64,
}

#[derive(Debug)]
struct Chain {
    id: Inbound,
    /// The serial number of its first call: requests that came later have nothing to do with it.
    first: u64,
    /// What it was found to be.
    found: Option<Inbound>,
    /// The number of the group in which it began.
    group: Option<u64>,
    /// Its calls.
    served: Served,
}

/// Those that were read about in one turn of the loop, and what they said.
#[derive(Debug)]
struct Group {
    /// In their order; at most [`MEMBERS`].
    members: Vec<Inbound>,
    /// In this order.
    said: Vec<Said>,
    /// Each of them spoke once at most; else nothing more is known than that it was one of them.
    is_strict: bool,
    /// What is not possible was taken from its places.
    is_narrow: bool,
}

#[derive(Clone, Copy, Debug)]
struct Said {
    /// The chain that this began, or the request that it answered.
    what: Inbound,
    way: Way,
    /// The members that it may have come from, a bit for each: what is left, and what there was at first.
    places: u64,
    at_first: u64,
    /// The request that it was for, if that is known.
    owner: Option<Inbound>,
    /// It was told whose it was.
    is_found: bool,
}

/// What may be a request's of that of which it is not known whose it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Possible {
    /// Chains of calls.
    chains: u32,
    /// Their calls that ended.
    pub calls: u32,
}

impl Possible {
    /// Nothing more will be known of the request.
    pub fn is_settled(&self) -> bool {
        self.chains == 0
    }
}

/// It is no request but a chain.
pub(super) fn is_chain(inbound: Inbound) -> bool {
    inbound.ticket == CHAIN
}

impl Chains {
    /// A call begins a chain.
    pub(super) fn begin(&mut self, call: Outbound) -> Inbound {
        if self.all.len() >= CHAINS {
            self.all.pop_front();
        }
        self.count += 1;
        let id = Inbound {
            ticket: CHAIN,
            serial: self.count,
        };
        self.all.push_back(Chain {
            id,
            first: call.serial,
            found: None,
            group: None,
            served: Served {
                outstanding: 1,
                ..Served::default()
            },
        });
        id
    }

    /// These were read about in one turn. Gives the number of their group.
    pub(super) fn group_of(&mut self, members: &[Inbound], is_strict: bool) -> u64 {
        if self.groups.len() >= GROUPS {
            self.groups.pop_front();
            self.groups_gone += 1;
        }
        let number = self.groups_gone + self.groups.len() as u64;
        let members = members.iter().take(MEMBERS).map(|member| self.resolved(*member));
        self.groups.push_back(Group {
            members: members.collect(),
            said: Vec::new(),
            is_strict,
            is_narrow: false,
        });
        number
    }

    /// One of some members of a group said this: a chain that began, or a request that was answered.
    pub(super) fn said(&mut self, group: u64, way: Way, what: Inbound, places: u64) {
        if let Some(chain) = self.chain_mut(what) {
            chain.group = Some(group);
        }
        if let Some(group) = self.group_mut(group) {
            group.is_narrow = false;
            group.said.push(Said {
                what,
                way,
                places,
                at_first: places,
                owner: (!is_chain(what)).then_some(what),
                is_found: false,
            });
        }
    }

    /// Concludes what can be from what was said in a group.
    pub(super) fn has_spoken(&mut self, group: u64, requests: &mut impl Requests) {
        self.conclude(group, None, requests);
    }

    /// Calls that were found to be a request's when they had ended; each is told once.
    pub(super) fn take_found(&mut self) -> u64 {
        std::mem::take(&mut self.found)
    }

    /// A request or a chain, by what it was found to be.
    pub(super) fn resolved(&self, inbound: Inbound) -> Inbound {
        let mut inbound = inbound;
        // What a chain was found to be is older.
        while let Some(found) = self.chain(inbound).and_then(|chain| chain.found) {
            inbound = found;
        }
        inbound
    }

    fn place(&self, id: Inbound) -> Option<usize> {
        let first = self.all.front().filter(|_| is_chain(id))?.id.serial;
        let place = usize::try_from(id.serial.checked_sub(first)?).ok()?;
        (place < self.all.len()).then_some(place)
    }

    fn chain(&self, id: Inbound) -> Option<&Chain> {
        self.all.get(self.place(id)?)
    }

    fn chain_mut(&mut self, id: Inbound) -> Option<&mut Chain> {
        let place = self.place(id)?;
        self.all.get_mut(place)
    }

    /// The group of this number, if it is kept.
    fn group(&self, number: u64) -> Option<&Group> {
        let place = number.checked_sub(self.groups_gone)?;
        self.groups.get(usize::try_from(place).ok()?)
    }

    fn group_mut(&mut self, number: u64) -> Option<&mut Group> {
        let place = number.checked_sub(self.groups_gone)?;
        self.groups.get_mut(usize::try_from(place).ok()?)
    }

    /// What is known of a request that is being served, or of a chain.
    pub(super) fn served<'a>(
        &'a mut self,
        inbound: Inbound,
        requests: &'a mut impl Requests,
    ) -> Option<&'a mut Served> {
        let inbound = self.resolved(inbound);
        if is_chain(inbound) {
            self.chain_mut(inbound).map(|chain| &mut chain.served)
        } else {
            requests.served(inbound)
        }
    }

    /// May this be the request's, as far as is known? `seen` is what is known of that of chains, by place.
    fn may_be(&self, id: Inbound, owner: Inbound, seen: &mut Vec<Option<bool>>) -> bool {
        let id = self.resolved(id);
        let Some(place) = self.place(id) else {
            return id == owner || id == UNKNOWN;
        };
        if seen.is_empty() {
            seen.resize(self.all.len(), None);
        }
        if let Some(may) = seen[place] {
            return may;
        }
        // What it went on is older: this ends.
        let group = self.all[place].group.and_then(|group| self.group(group));
        let may = owner.serial < self.all[place].first
            && group.is_some_and(|group| {
                let said = group.said.iter().find(|said| said.what == id);
                said.is_some_and(|said| match said.owner {
                    Some(known) => known == owner,
                    None => (0..group.members.len())
                        .any(|place| said.places & 1 << place != 0 && self.may_be(group.members[place], owner, seen)),
                })
            });
        seen[place] = Some(may);
        may
    }

    /// Of these, the one chain that may be this request's; `None` if there are several, or none.
    pub(super) fn only_possible(&self, of: &[Inbound], owner: Inbound) -> Option<Inbound> {
        let mut seen = Vec::new();
        let mut may = of.iter().map(|chain| self.resolved(*chain));
        let mut may = may
            .by_ref()
            .filter(|chain| is_chain(*chain) && self.may_be(*chain, owner, &mut seen));
        may.next().filter(|_| may.next().is_none())
    }

    /// What may be this request's of that of which it is not known whose it is.
    pub(super) fn possible(&self, owner: Inbound) -> Possible {
        let mut possible = Possible::default();
        let mut seen = Vec::new();
        let unfound = self.all.iter().filter(|chain| chain.found.is_none());
        for chain in unfound.filter(|chain| self.may_be(chain.id, owner, &mut seen)) {
            possible.chains += 1;
            possible.calls += u32::try_from(chain.served.calls.len()).unwrap_or(u32::MAX);
        }
        possible
    }

    /// A chain was this request's, which is being answered.
    pub(super) fn belongs(
        &mut self,
        chain: Inbound,
        owner: Inbound,
        answered: &mut Served,
        requests: &mut impl Requests,
    ) {
        let chain = self.resolved(chain);
        let mut answered = Some((owner, answered));
        if let Some(group) = self.own(chain, owner, &mut answered, requests) {
            self.conclude(group, answered, requests);
        }
    }

    /// A chain is this request's. Gives its group.
    fn own(
        &mut self,
        chain: Inbound,
        owner: Inbound,
        answered: &mut Option<(Inbound, &mut Served)>,
        requests: &mut impl Requests,
    ) -> Option<u64> {
        let number = self.chain(chain)?.group;
        self.is(chain, owner, answered, requests);
        let mut said = self.group_mut(number?)?.said.iter_mut();
        said.find(|said| said.what == chain)?.owner = Some(owner);
        number
    }

    /// Draws the conclusions from what was learnt of a group.
    fn conclude(&mut self, group: u64, answered: Option<(Inbound, &mut Served)>, requests: &mut impl Requests) {
        let mut answered = answered;
        let mut groups = vec![group];
        while let Some(number) = groups.pop() {
            if self.narrow(number) {
                let known = |said: &Said| said.owner.is_some() && !said.is_found;
                let open = self
                    .groups
                    .iter()
                    .enumerate()
                    .filter(|(_, group)| group.said.iter().any(known));
                let open = open.map(|(place, _)| self.groups_gone + place as u64);
                let open: Vec<u64> = open
                    .filter(|other| *other != number && !groups.contains(other))
                    .collect();
                groups.extend(open);
            }
            while let Some((said, member)) = self.group_mut(number).and_then(Group::next_found) {
                let member = self.resolved(member);
                // Whose it was, it was before as well.
                if let Some(owner) = said.owner {
                    groups.extend(self.own(member, owner, &mut answered, requests));
                }
                if is_chain(said.what) && said.what != member {
                    self.is(said.what, member, &mut answered, requests);
                }
            }
        }
    }

    /// A chain is found to be this one; so are its calls.
    fn is(
        &mut self,
        chain: Inbound,
        owner: Inbound,
        answered: &mut Option<(Inbound, &mut Served)>,
        requests: &mut impl Requests,
    ) {
        let Some(chain) = self.chain_mut(chain).filter(|chain| chain.found.is_none()) else {
            return;
        };
        chain.found = Some(owner);
        let Served { calls, outstanding, .. } = std::mem::take(&mut chain.served);
        let served = match answered {
            Some((request, served)) if *request == owner => Some(&mut **served),
            _ if is_chain(owner) => self.served(owner, requests),
            _ => match requests.served(owner) {
                Some(served) => Some(served),
                None => requests.answered(owner),
            },
        };
        let Some(served) = served else { return };
        served.outstanding += outstanding;
        let count = calls.len() as u64;
        for call in calls {
            served.add(call);
        }
        self.found += if is_chain(owner) { 0 } else { count };
    }

    /// Takes from a group's places those that are not possible.
    fn narrow(&mut self, number: u64) -> bool {
        let Some(group) = self.group(number) else { return false };
        let mut possible = Vec::new();
        for (place, said) in group.said.iter().enumerate() {
            let Some(owner) = said.owner.filter(|_| !said.is_found) else {
                continue;
            };
            let mut seen = Vec::new();
            let members = group.members.iter();
            // It was nobody else if it is one of them.
            let itself = members.clone().position(|member| self.resolved(*member) == owner);
            let may = itself.map_or_else(
                || {
                    let may = members
                        .enumerate()
                        .filter(|(_, member)| self.may_be(**member, owner, &mut seen));
                    may.fold(0, |places, (member, _)| places | 1 << member)
                },
                |member| 1 << member,
            );
            possible.push((place, may));
        }
        let Some(group) = self.group_mut(number) else {
            return false;
        };
        for (place, places) in possible {
            let said = &mut group.said[place];
            // Whose it was is not followed any more, or was taken for somebody else's.
            match said.places & places {
                0 => said.owner = None,
                left => {
                    group.is_narrow &= left == said.places;
                    said.places = left;
                }
            }
        }
        if std::mem::replace(&mut group.is_narrow, true) {
            return false;
        }
        // Else something was not as it should be, and nothing is known.
        if group.is_strict && !group.narrow() {
            group.is_strict = false;
            group.said.iter_mut().for_each(|said| said.places = said.at_first);
        }
        true
    }

    pub(super) fn heap_bytes(&self) -> usize {
        let of_group =
            |group: &Group| group.members.capacity() * size_of::<Inbound>() + group.said.capacity() * size_of::<Said>();
        self.all.capacity() * size_of::<Chain>()
            + self.groups.capacity() * size_of::<Group>()
            + self.all.iter().map(|chain| chain.served.heap_bytes()).sum::<usize>()
            + self.groups.iter().map(of_group).sum::<usize>()
    }
}

impl Group {
    /// Something said of which it is known now who said it, once.
    fn next_found(&mut self) -> Option<(Said, Inbound)> {
        let mut said = self.said.iter_mut();
        let said = said.find(|said| !said.is_found && said.places.is_power_of_two())?;
        said.is_found = true;
        let member = self.members.get(said.places.trailing_zeros() as usize)?;
        Some((*said, *member))
    }

    /// Each spoke once at most, and in their order those that spoke in the same way: takes the places that no such
    /// distribution has. False if there is none.
    fn narrow(&mut self) -> bool {
        let Some(silent) = self.members.len().checked_sub(self.said.len()) else {
            return false;
        };
        // Who speaks in the same way stands in a line; whom the members are given to, in turn, are the heads of the lines.
        let mut lines: Vec<Vec<usize>> = Vec::new();
        for (number, said) in self.said.iter().enumerate() {
            let first = |line: &&mut Vec<usize>| self.said[line[0]].way.keeps_the_order_of(said.way);
            match lines.iter_mut().find(first) {
                Some(line) => line.push(number),
                None => lines.push(vec![number]),
            }
        }
        // How many have gone from each line, as one number: the last digit is of those that say nothing.
        let sizes: Vec<usize> = lines.iter().map(Vec::len).chain([silent]).collect();
        let mut steps = vec![1; sizes.len()];
        for line in (1..sizes.len()).rev() {
            steps[line - 1] = steps[line] * (sizes[line] + 1);
            if steps[line - 1] > STATES {
                return true;
            }
        }
        let states = steps[0] * (sizes[0] + 1);
        if states > STATES {
            return true;
        }
        let gone = |state: usize, line: usize| state / steps[line] % (sizes[line] + 1);
        // The lines that may give the next one in this state, and which one that is.
        let next = |state: usize| {
            let place: usize = (0..sizes.len()).map(|line| gone(state, line)).sum();
            let lines = &lines;
            let said = &self.said;
            let heads = (0..sizes.len()).filter_map(move |line| {
                let gone = gone(state, line);
                let head = lines.get(line).and_then(|line| line.get(gone)).copied();
                let may = match head {
                    Some(head) => said[head].places & 1 << place != 0,
                    None => line == lines.len() && gone < silent,
                };
                may.then_some((line, head))
            });
            (place, heads)
        };
        // What is left can be given as well, from the last state on.
        let mut ends = vec![false; states];
        ends[states - 1] = true;
        for state in (0..states - 1).rev() {
            ends[state] = next(state).1.any(|(line, _)| ends[state + steps[line]]);
        }
        let mut places = vec![0; self.said.len()];
        let mut begins = vec![false; states];
        begins[0] = true;
        for state in 0..states {
            if begins[state] {
                let (place, heads) = next(state);
                for (line, head) in heads {
                    let then = state + steps[line];
                    if ends[then] {
                        begins[then] = true;
                        if let Some(head) = head {
                            places[head] |= 1 << place;
                        }
                    }
                }
            }
        }
        let told = ends[0];
        if told {
            self.said
                .iter_mut()
                .zip(places)
                .for_each(|(said, places)| said.places = places);
        }
        told
    }
}

#[cfg(test)]
mod tests;
