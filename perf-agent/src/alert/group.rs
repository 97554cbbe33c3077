//! Groups: which receiver is told of what, and when.
//!
//! The alerts of one service are a group, so a service whose thousand endpoints fail at once is one notification; what is
//! of no service is grouped by what it is (`host`, `agent`, `custom`). A receiver is told of a group
//!
//! - for the first time `group_wait` after the first alert that it is to know of fires: others that come with it are told
//!   with it;
//! - again if alerts came or went, but at most once per `group_interval`;
//! - again if nothing changed for `repeat_interval`;
//! - at last when all that it was told of is resolved.
//!
//! Hidden alerts are not told. One that was told, and then is hidden, is told again when it is hidden no more; as long as it
//! fires, its group is not resolved. A group that has been firing for as long as an escalation says is told to its receivers
//! once, unless they know of it already, and its resolution is, too. Any two notifications of a group to a receiver are at
//! least `group_interval` apart.
//!
//! A receiver that lists all is told every alert, and also when one that it was told of is hidden: then the notification
//! does not list it any more, and the receiver forgets it. It was not resolved, so it is not said to be.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::state::is_over;
use super::{Alert, Notification, Reason, State};
use crate::threshold::Severity;

/// Who is told of what, and how often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How long to wait for more before the first notification of a group.
    pub group_wait: Duration,
    /// The least time between two notifications of a group.
    pub group_interval: Duration,
    /// After this time a group that did not change is told again.
    pub repeat_interval: Duration,
    /// Who is told.
    pub receivers: Vec<Receiver>,
    /// Who is told later.
    pub escalation: Vec<Escalation>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            group_wait: Duration::from_secs(10),
            group_interval: Duration::from_mins(1),
            repeat_interval: Duration::from_hours(4),
            receivers: Vec::new(),
            escalation: Vec::new(),
        }
    }
}

/// A receiver, and what it is to know of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receiver {
    /// Its name.
    pub name: String,
    /// Milder alerts are not told.
    pub min_severity: Severity,
    /// It is told by escalation only.
    pub only_escalated: bool,
    /// It groups and repeats by itself, so it is told of every alert, up to [`Notification::ALL`] of a group, and that one
    /// is hidden: each notification has all that it is to know of.
    pub lists_all: bool,
}

/// Whom to tell of what nobody resolves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Escalation {
    /// How long a group has been firing.
    pub after: Duration,
    /// Names of receivers.
    pub receivers: Vec<String>,
}

impl Settings {
    /// Every receiver that is named, once.
    pub fn names(&self) -> BTreeSet<&str> {
        let escalated = self.escalation.iter().flat_map(|escalation| &escalation.receivers);
        let direct = self.receivers.iter().map(|receiver| &receiver.name);
        direct.chain(escalated).map(String::as_str).collect()
    }

    /// Is an alert to be told to a receiver at once?
    fn is_direct(&self, name: &str, alert: &Alert) -> bool {
        let mut receivers = self.receivers.iter();
        receivers.any(|receiver| {
            receiver.name == name && !receiver.only_escalated && alert.severity >= receiver.min_severity
        })
    }

    /// Is it to know of everything?
    fn lists_all(&self, name: &str) -> bool {
        let mut receivers = self.receivers.iter();
        receivers.any(|receiver| receiver.name == name && receiver.lists_all)
    }

    /// Is it to be told of what has been firing since this moment?
    fn is_escalated(&self, name: &str, since_wall_ns: u64, wall_ns: u64) -> bool {
        let mut due = self
            .escalation
            .iter()
            .filter(|escalation| is_over(since_wall_ns, escalation.after, wall_ns));
        due.any(|escalation| escalation.receivers.iter().any(|receiver| receiver == name))
    }
}

/// What is kept of a group. Whoever keeps it over a restart tells nobody twice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupState {
    /// Its name.
    pub group: String,
    /// Since when any of its alerts has been firing, and not been hidden, nanoseconds since 1970.
    pub since_wall_ns: Option<u64>,
    /// What each receiver was told.
    pub told: Vec<Told>,
}

/// What a receiver was told of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Which receiver.
    pub receiver: String,
    /// Since when there has been something to tell it for the first time.
    pub waiting_wall_ns: Option<u64>,
    /// When it was told something last.
    pub told_wall_ns: Option<u64>,
    /// Ids of the alerts that it was told of, and not yet of their resolution.
    pub alerts: BTreeSet<String>,
    /// Those of them that were hidden afterwards.
    pub hidden: BTreeSet<String>,
    /// It was told since nobody resolved the group.
    pub escalated: bool,
}

/// All groups.
#[derive(Clone, Debug, Default)]
pub(super) struct Groups {
    all: BTreeMap<String, GroupState>,
}

/// One group now.
struct Now<'a> {
    /// Alerts that are to be told, worst first.
    shown: Vec<&'a Alert>,
    /// Those that fire: whether they are hidden.
    firing: BTreeMap<&'a str, bool>,
    wall_ns: u64,
}

impl Groups {
    pub(super) fn restore(&mut self, groups: Vec<GroupState>) {
        let named = |group: GroupState| (group.group.clone(), group);
        self.all = groups.into_iter().map(named).collect();
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &GroupState> {
        self.all.values()
    }

    /// What is to be told now. `resolved` finds the newest resolved alert of an id.
    pub(super) fn plan<'a>(
        &mut self,
        settings: &Settings,
        active: impl Iterator<Item = &'a Alert>,
        resolved: impl Fn(&str) -> Option<&'a Alert>,
        wall_ns: u64,
    ) -> Vec<Notification> {
        let mut groups: BTreeMap<&str, Vec<&Alert>> = BTreeMap::new();
        for alert in active.filter(|alert| alert.state == State::Firing) {
            groups.entry(alert.subject.group()).or_default().push(alert);
        }
        for group in groups.keys() {
            if !self.all.contains_key(*group) {
                let state = GroupState {
                    group: (*group).to_owned(),
                    ..GroupState::default()
                };
                self.all.insert((*group).to_owned(), state);
            }
        }
        let names = settings.names();
        let mut notifications = Vec::new();
        self.all.retain(|name, state| {
            let now = Now::new(groups.remove(name.as_str()).unwrap_or_default(), wall_ns);
            if now.shown.is_empty() {
                state.since_wall_ns = None;
            } else {
                state.since_wall_ns.get_or_insert(wall_ns);
            }
            state.told.retain(|told| names.contains(told.receiver.as_str()));
            for &receiver in &names {
                let told = told_mut(&mut state.told, receiver);
                let decided = told.decide(settings, &now, state.since_wall_ns);
                if let Some((reason, firing)) = decided {
                    let all = settings.lists_all(receiver);
                    notifications.push(told.tell(name, reason, &firing, &now, all, &resolved));
                }
            }
            state.told.retain(|told| !told.is_over(settings, wall_ns));
            state.since_wall_ns.is_some() || !state.told.is_empty()
        });
        notifications
    }
}

fn told_mut<'a>(told: &'a mut Vec<Told>, receiver: &str) -> &'a mut Told {
    let place = told
        .iter()
        .position(|told| told.receiver == receiver)
        .unwrap_or_else(|| {
            told.push(Told {
                receiver: receiver.to_owned(),
                ..Told::default()
            });
            told.len() - 1
        });
    &mut told[place]
}

impl<'a> Now<'a> {
    fn new(firing: Vec<&'a Alert>, wall_ns: u64) -> Self {
        let mut shown: Vec<&Alert> = firing.iter().copied().filter(|alert| alert.is_to_be_told()).collect();
        shown.sort_by_key(|alert| (std::cmp::Reverse(alert.severity), alert.fired_wall_ns, &alert.id));
        Self {
            shown,
            firing: firing
                .into_iter()
                .map(|alert| (alert.id.as_str(), alert.is_hidden()))
                .collect(),
            wall_ns,
        }
    }

    /// Is what was told of an alert still so? To one that lists `all`, what is hidden is over.
    fn holds(&self, id: &str, all: bool) -> bool {
        let hidden = self.firing.get(id);
        hidden.is_some_and(|hidden| !(all && *hidden))
    }
}

impl Told {
    /// Is the receiver to be told, why, and which alerts that fire?
    fn decide<'a>(
        &mut self,
        settings: &Settings,
        now: &Now<'a>,
        since_wall_ns: Option<u64>,
    ) -> Option<(Reason, Vec<&'a Alert>)> {
        let wall_ns = now.wall_ns;
        let all = settings.lists_all(&self.receiver);
        let after = |duration: Duration| self.told_wall_ns.is_none_or(|told| is_over(told, duration, wall_ns));
        let may_tell = after(settings.group_interval);
        let repeats = after(settings.repeat_interval.max(settings.group_interval));
        let shown = now.shown.iter().copied();
        let direct: Vec<&Alert> = shown
            .filter(|alert| settings.is_direct(&self.receiver, alert))
            .collect();
        if self.alerts.is_empty() {
            if direct.is_empty() {
                self.waiting_wall_ns = None;
                let is_due = since_wall_ns.is_some_and(|since| settings.is_escalated(&self.receiver, since, wall_ns));
                if is_due && may_tell && !now.shown.is_empty() {
                    self.escalated = true;
                    return Some((Reason::Escalated, now.shown.clone()));
                }
                return None;
            }
            let waiting = *self.waiting_wall_ns.get_or_insert(wall_ns);
            let waited = is_over(waiting, settings.group_wait, wall_ns);
            return (waited && may_tell).then_some((Reason::New, direct));
        }
        if !direct.is_empty() {
            self.escalated = false;
        }
        // What was told and is hidden now will be news when it is seen again.
        let hides = |id: &&String| now.firing.get(id.as_str()) == Some(&true);
        let hidden: Vec<String> = self.alerts.iter().filter(hides).cloned().collect();
        self.hidden.extend(hidden);
        let still = self.alerts.iter().any(|id| now.holds(id, all));
        if self.escalated && !all {
            let is_resolved = now.shown.is_empty() && !still;
            return (is_resolved && may_tell).then(|| (Reason::Resolved, Vec::new()));
        }
        let listed = if self.escalated { now.shown.clone() } else { direct };
        let came = listed
            .iter()
            .any(|alert| !self.alerts.contains(&alert.id) || self.hidden.contains(&alert.id));
        let went = self.alerts.iter().any(|id| !now.holds(id, all));
        match (came || went, listed.is_empty()) {
            (true, false) => may_tell.then_some((Reason::Changed, listed)),
            (true, true) => {
                let fires = self.alerts.iter().any(|id| now.holds(id, false));
                let reason = if fires { Reason::Changed } else { Reason::Resolved };
                (!still && may_tell).then_some((reason, listed))
            }
            (false, false) => repeats.then_some((Reason::Repeated, listed)),
            (false, true) => None,
        }
    }

    /// Makes the notification, and keeps what it says.
    fn tell<'a>(
        &mut self,
        group: &str,
        reason: Reason,
        firing: &[&Alert],
        now: &Now<'_>,
        all: bool,
        resolved: &impl Fn(&str) -> Option<&'a Alert>,
    ) -> Notification {
        let (mut alerts, mut more) = (Vec::new(), 0);
        let most = if all { Notification::ALL } else { Notification::ALERTS };
        let mut list = |alert: &Alert| {
            if alerts.len() < most {
                alerts.push(alert.clone());
            } else {
                more += 1;
            }
        };
        for alert in firing {
            list(alert);
        }
        let mut gone = 0;
        self.alerts.retain(|id| {
            if !now.firing.contains_key(id.as_str()) {
                match resolved(id) {
                    Some(alert) if alert.is_hidden() => {}
                    Some(alert) => list(alert),
                    // Too many were resolved since.
                    None => gone += 1,
                }
            }
            now.holds(id, all)
        });
        self.alerts.extend(firing.iter().map(|alert| alert.id.clone()));
        let shows = |id: &String| now.firing.get(id.as_str()) == Some(&true);
        self.hidden.retain(shows);
        self.waiting_wall_ns = None;
        self.told_wall_ns = Some(now.wall_ns);
        if reason == Reason::Resolved {
            self.escalated = false;
        }
        Notification {
            receiver: self.receiver.clone(),
            group: group.to_owned(),
            wall_ns: now.wall_ns,
            reason,
            alerts,
            more: more + gone,
        }
    }

    /// Is there nothing to be kept of it?
    fn is_over(&self, settings: &Settings, wall_ns: u64) -> bool {
        let is_past = |told: u64| is_over(told, settings.group_interval, wall_ns);
        self.alerts.is_empty() && self.waiting_wall_ns.is_none() && self.told_wall_ns.is_none_or(is_past)
    }
}
