//! A receiver: a name, and the way to it.

use std::time::Duration;

use crate::alert::Notification;

use super::alertmanager::{self, Alertmanager};
use super::command::Command;
use super::email::Email;
use super::failure::{Failure, Fault};
use super::outbox::Bounds;
use super::slack::Slack;
use super::webhook::Webhook;
use super::{Clock, Origin};

/// Longest name of a receiver, bytes.
const NAME_BYTES: usize = 64;

/// Who is told.
#[derive(Debug)]
pub struct Receiver {
    name: String,
    way: Way,
}

/// Does a receiver of this kind group by itself, and forget what it is not told again? Then each notification has all of its
/// group.
pub fn lists_all(kind: &str) -> bool {
    kind == "alertmanager"
}

/// The ways of telling.
#[derive(Debug)]
pub enum Way {
    /// JSON by HTTP.
    Webhook(Webhook),
    /// Slack, Mattermost, Rocket.Chat.
    Slack(Slack),
    /// Prometheus's Alertmanager.
    Alertmanager(Alertmanager),
    /// E-mail.
    Email(Email),
    /// A program.
    Command(Command),
}

impl Receiver {
    /// With a name: letters, digits, `-`, `_`, `.`; at most 64.
    ///
    /// # Errors
    /// It is no name.
    pub fn new(name: &str, way: Way) -> Result<Self, Fault> {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.is_empty() || name.len() > NAME_BYTES || !name.chars().all(fits) {
            let problem = format!("{name:?} is no name: 1 to {NAME_BYTES} letters, digits, -, _ and .");
            return Err(Fault::new("name", problem));
        }
        Ok(Self {
            name: name.to_owned(),
            way,
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The kind of way to it.
    pub fn kind(&self) -> &'static str {
        match &self.way {
            Way::Webhook(_) => "webhook",
            Way::Slack(_) => "slack",
            Way::Alertmanager(_) => "alertmanager",
            Way::Email(_) => "email",
            Way::Command(_) => "command",
        }
    }

    /// How much of what waits for it is kept.
    pub(super) fn bounds(&self) -> Bounds {
        if lists_all(self.kind()) {
            Bounds::ALL
        } else {
            Bounds::LISTED
        }
    }

    /// How long one attempt may take.
    pub(super) fn deadline(&self) -> Duration {
        match &self.way {
            Way::Webhook(way) => way.server.deadline(),
            Way::Slack(way) => way.server.deadline(),
            // Several requests, if much fires.
            Way::Alertmanager(way) => way.server.deadline() * 10,
            Way::Email(way) => way.deadline(),
            Way::Command(way) => way.deadline(),
        }
    }

    /// The longest pause between two attempts that it bears.
    pub(super) fn longest_pause(&self) -> Duration {
        match &self.way {
            // What fires ends by itself if nothing is heard for longer.
            Way::Alertmanager(_) => alertmanager::AGAIN,
            _ => Duration::MAX,
        }
    }

    /// Tells it.
    pub(super) async fn deliver(
        &self,
        told: &Notification,
        origin: &Origin,
        clock: Clock,
        firing: &mut alertmanager::Firing,
    ) -> Result<(), Failure> {
        match &self.way {
            Way::Webhook(way) => way.deliver(told, origin, clock).await,
            Way::Slack(way) => way.deliver(told, origin, clock).await,
            Way::Alertmanager(way) => way.deliver(told, origin, clock, firing).await,
            // These are large, and rare.
            Way::Email(way) => Box::pin(way.deliver(told, origin)).await,
            Way::Command(way) => Box::pin(way.deliver(told, origin)).await,
        }
    }

    /// Tells it again what fires, if it wants to hear that.
    pub(super) async fn again(
        &self,
        origin: &Origin,
        clock: Clock,
        firing: &alertmanager::Firing,
    ) -> Result<(), Failure> {
        match &self.way {
            Way::Alertmanager(way) => way.again(origin, clock, firing).await,
            _ => Ok(()),
        }
    }
}
