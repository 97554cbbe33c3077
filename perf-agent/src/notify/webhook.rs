//! Posts each notification as JSON ([`super::document`]) to an address of one's own.

use crate::alert::Notification;

use super::document::Document;
use super::failure::{Failure, Fault};
use super::http;
use super::{Clock, Origin};

/// A receiver that takes JSON.
#[derive(Debug)]
pub struct Webhook {
    pub(super) server: http::Server,
}

impl Webhook {
    /// From its settings.
    ///
    /// # Errors
    /// The first setting that cannot be.
    pub fn new(settings: &http::Settings) -> Result<Self, Fault> {
        let server = http::Server::new(settings)?;
        Ok(Self { server })
    }

    pub(super) async fn deliver(&self, told: &Notification, origin: &Origin, clock: Clock) -> Result<(), Failure> {
        let json = Document::new(told, origin).to_json();
        self.server.post(None, json, (clock.wall_ns)()).await
    }
}
