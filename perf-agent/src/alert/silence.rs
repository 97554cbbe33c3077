//! Silences: alerts that nobody is to be told of for a while, since somebody knows.

use std::collections::BTreeMap;

use super::Alert;
use crate::endpoint::Fnv;
use crate::threshold::{Fault, matches};

/// Silences that there may be at once, those that are over included.
pub const SILENCES: usize = 1_000;
/// Conditions of one silence.
const MATCHERS: usize = 16;
/// Longest pattern, and longest name of who made it.
const SHORT: usize = 256;
/// Longest comment.
const LONG: usize = 2_048;
/// How long a silence that is over is kept.
const KEPT_NS: u64 = 24 * 3600 * 1_000_000_000;

/// What of an alert a silence looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Field {
    /// `warning`, `error`, `critical`.
    Severity,
    /// The service's name; empty if it is of none.
    Service,
    /// The subject's name or key.
    Subject,
    /// The threshold's id.
    Threshold,
    /// The metric's name.
    Metric,
}

impl Field {
    /// In the order of the API.
    pub const ALL: [Self; 5] = [
        Self::Severity,
        Self::Service,
        Self::Subject,
        Self::Threshold,
        Self::Metric,
    ];

    /// The word used in the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Severity => "severity",
            Self::Service => "service",
            Self::Subject => "subject",
            Self::Threshold => "threshold",
            Self::Metric => "metric",
        }
    }

    /// The field of a word of the API.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|field| field.name() == name)
    }
}

/// One condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matcher {
    /// What it looks at.
    pub field: Field,
    /// A [pattern](matches).
    pub value: String,
}

impl Matcher {
    fn matches(&self, alert: &Alert) -> bool {
        let is = |text: &str| matches(&self.value, text);
        match self.field {
            Field::Severity => is(alert.severity.name()),
            Field::Service => is(alert.subject.service.as_deref().unwrap_or_default()),
            Field::Subject => is(&alert.subject.name) || is(&alert.subject.key),
            Field::Threshold => is(&alert.threshold_id),
            Field::Metric => is(&alert.metric),
        }
    }
}

/// A silence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Silence {
    /// 16 hexadecimal digits.
    pub id: String,
    /// All of them must be met.
    pub matchers: Vec<Matcher>,
    /// When it begins, nanoseconds since 1970.
    pub starts_wall_ns: u64,
    /// When it is over.
    pub ends_wall_ns: u64,
    /// Who made it.
    pub created_by: String,
    /// Why.
    pub comment: String,
}

impl Silence {
    /// Is it in force?
    pub fn is_in_force(&self, wall_ns: u64) -> bool {
        (self.starts_wall_ns..self.ends_wall_ns).contains(&wall_ns)
    }

    /// Does it mean this alert?
    pub fn matches(&self, alert: &Alert) -> bool {
        self.matchers.iter().all(|matcher| matcher.matches(alert))
    }
}

/// A silence as somebody wrote it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SilenceDraft {
    /// Field and pattern of each condition.
    pub matchers: Vec<(String, String)>,
    /// When it begins; now if it is not said.
    pub starts_wall_ns: Option<u64>,
    /// When it is over.
    pub ends_wall_ns: Option<u64>,
    /// Who made it.
    pub created_by: Option<String>,
    /// Why.
    pub comment: Option<String>,
}

impl SilenceDraft {
    /// The silence that is meant, with this id, or everything that is wrong.
    fn check(&self, id: String, wall_ns: u64) -> Result<Silence, Vec<Fault>> {
        let mut faults = Vec::new();
        let mut matchers = Vec::new();
        if self.matchers.is_empty() || self.matchers.len() > MATCHERS {
            let problem = format!("{} conditions", self.matchers.len());
            faults.push(Fault::new("matchers", problem, format!("1 to {MATCHERS}")));
        }
        for (field, value) in self.matchers.iter().take(MATCHERS) {
            match Field::from_name(field) {
                Some(_) if value.len() > SHORT => {
                    let problem = format!("{} bytes are too long for {field}", value.len());
                    faults.push(Fault::new("matchers", problem, format!("at most {SHORT} bytes")));
                }
                Some(field) => matchers.push(Matcher {
                    field,
                    value: value.clone(),
                }),
                None => {
                    let problem = format!("unknown field `{}`", &field[..field.floor_char_boundary(80)]);
                    let names = Field::ALL.map(Field::name).join(", ");
                    faults.push(Fault::new("matchers", problem, format!("one of {names}")));
                }
            }
        }
        let starts_wall_ns = self.starts_wall_ns.unwrap_or(wall_ns);
        let ends_wall_ns = self.ends_wall_ns.unwrap_or_default();
        let later = "a time after its start and after now";
        if self.ends_wall_ns.is_none() {
            faults.push(Fault::new("ends", "missing", later));
        } else if ends_wall_ns <= starts_wall_ns || ends_wall_ns <= wall_ns {
            faults.push(Fault::new("ends", "it would be over already", later));
        }
        let mut text = |field, text: &Option<String>, most: usize| {
            let text = text.clone().unwrap_or_default();
            if text.len() > most {
                let problem = format!("{} bytes are too long", text.len());
                faults.push(Fault::new(field, problem, format!("at most {most} bytes")));
            }
            text
        };
        let created_by = text("created_by", &self.created_by, SHORT);
        let comment = text("comment", &self.comment, LONG);
        if !faults.is_empty() {
            return Err(faults);
        }
        Ok(Silence {
            id,
            matchers,
            starts_wall_ns,
            ends_wall_ns,
            created_by,
            comment,
        })
    }
}

/// All silences.
#[derive(Clone, Debug, Default)]
pub struct Silences {
    /// By id.
    all: BTreeMap<String, Silence>,
    made: u64,
    /// Ids of those that were forgotten since somebody asked for them.
    forgotten: Vec<String>,
}

impl Silences {
    /// Those of an earlier run. If there are too many, those that end first are forgotten.
    pub fn restore(&mut self, mut silences: Vec<Silence>) {
        silences.sort_by_key(|silence| std::cmp::Reverse(silence.ends_wall_ns));
        for silence in silences {
            if self.all.contains_key(&silence.id) {
                continue;
            }
            if self.all.len() < SILENCES {
                self.all.insert(silence.id.clone(), silence);
            } else {
                self.forgotten.push(silence.id);
            }
        }
    }

    /// Ids of those that were forgotten since this was asked last: nobody needs to keep them any more.
    pub fn take_forgotten(&mut self) -> Vec<String> {
        std::mem::take(&mut self.forgotten)
    }

    /// Forgets those that end up to this moment.
    fn forget(&mut self, ended_wall_ns: u64) {
        let over = self
            .all
            .extract_if(.., |_, silence| silence.ends_wall_ns <= ended_wall_ns);
        self.forgotten.extend(over.map(|(id, _)| id));
    }

    /// All, the one that ends last first.
    pub fn all(&self) -> Vec<&Silence> {
        let mut all: Vec<_> = self.all.values().collect();
        all.sort_by(|a, b| b.ends_wall_ns.cmp(&a.ends_wall_ns).then_with(|| a.id.cmp(&b.id)));
        all
    }

    /// One of them.
    pub fn get(&self, id: &str) -> Option<&Silence> {
        self.all.get(id)
    }

    /// Makes one.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it.
    pub fn add(&mut self, draft: &SilenceDraft, wall_ns: u64) -> Result<Silence, Vec<Fault>> {
        let silence = draft.check(self.free_id(wall_ns), wall_ns)?;
        if self.all.len() >= SILENCES {
            // Those that are over are of no use to anybody but the curious.
            self.forget(wall_ns);
        }
        if self.all.len() >= SILENCES {
            let problem = format!("there are {SILENCES} silences already");
            return Err(vec![Fault::new("matchers", problem, "fewer silences that mean more")]);
        }
        self.all.insert(silence.id.clone(), silence.clone());
        Ok(silence)
    }

    /// Changes one; `None` if there is none of this id.
    pub fn replace(&mut self, id: &str, draft: &SilenceDraft, wall_ns: u64) -> Option<Result<Silence, Vec<Fault>>> {
        let known = self.all.get_mut(id)?;
        let checked = draft.check(id.to_owned(), wall_ns);
        if let Ok(silence) = &checked {
            known.clone_from(silence);
        }
        Some(checked)
    }

    /// Ends one now; `None` if there is none of this id.
    pub fn expire(&mut self, id: &str, wall_ns: u64) -> Option<&Silence> {
        let silence = self.all.get_mut(id)?;
        silence.ends_wall_ns = silence.ends_wall_ns.min(wall_ns);
        silence.starts_wall_ns = silence.starts_wall_ns.min(silence.ends_wall_ns);
        Some(silence)
    }

    /// Forgets one; `None` if there is none of this id.
    pub fn remove(&mut self, id: &str) -> Option<Silence> {
        self.all.remove(id)
    }

    /// Forgets those that have been over for a day, and says of each alert which silence hides it: the one that ends last.
    pub(super) fn apply<'a>(&mut self, alerts: impl Iterator<Item = &'a mut Alert>, wall_ns: u64) {
        if let Some(ended_wall_ns) = wall_ns.checked_sub(KEPT_NS) {
            self.forget(ended_wall_ns);
        }
        let mut in_force = self.all();
        in_force.retain(|silence| silence.is_in_force(wall_ns));
        for alert in alerts {
            let silence = in_force.iter().find(|silence| silence.matches(alert));
            alert.silenced_by = silence.map(|silence| silence.id.clone());
        }
    }

    fn free_id(&mut self, wall_ns: u64) -> String {
        loop {
            self.made += 1;
            let mut hash = Fnv::new();
            hash.number(wall_ns);
            hash.number(self.made);
            let id = format!("{:016x}", hash.0);
            if !self.all.contains_key(&id) {
                return id;
            }
        }
    }
}
