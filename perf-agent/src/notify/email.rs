//! E-mail, by SMTP: a subject line and a plain text.

use std::path::PathBuf;
use std::time::Duration;

use lettre::message::header::ContentType;
use lettre::message::{Mailbox, Message};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls as SmtpTls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Tokio1Executor};

use crate::alert::Notification;

use super::failure::{Failure, Fault, with_causes};
use super::secret::{self, absolute};
use super::{Origin, text};

/// How the connection is encrypted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tls {
    /// Not at all: for a server on the same host.
    None,
    /// It begins without and must then be.
    #[default]
    Starttls,
    /// From the first byte.
    Tls,
}

/// What is configured of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The server's name or address.
    pub server: String,
    /// Its port; 25, 587 or 465 by [`Self::tls`] if none is said.
    pub port: Option<u16>,
    /// How the connection is encrypted.
    pub tls: Tls,
    /// The certificate authorities (PEM) to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// Who logs in.
    pub user: Option<String>,
    /// The file with the password.
    pub password_file: Option<PathBuf>,
    /// Who writes: `perf-agent <alerts@example.org>`.
    pub from: String,
    /// To whom.
    pub to: Vec<String>,
    /// How long everything together may take.
    pub deadline: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            server: String::new(),
            port: None,
            tls: Tls::default(),
            ca_file: None,
            user: None,
            password_file: None,
            from: String::new(),
            to: Vec::new(),
            deadline: Duration::from_secs(30),
        }
    }
}

/// A receiver that reads mail.
#[derive(Debug)]
pub struct Email {
    settings: Settings,
    from: Mailbox,
    to: Vec<Mailbox>,
}

/// Most addresses of one receiver.
const ADDRESSES: usize = 50;

impl Email {
    /// From its settings. Files are not read yet.
    ///
    /// # Errors
    /// The first setting that cannot be.
    pub fn new(settings: &Settings) -> Result<Self, Fault> {
        let server = &settings.server;
        let odd = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '/' | '@');
        if server.is_empty() || server.len() > 253 || server.contains(odd) {
            return Err(Fault::new("server", format!("{server:?} is no server's name")));
        }
        if settings.port == Some(0) {
            return Err(Fault::new("port", "0 is no port"));
        }
        if let Some(file) = &settings.ca_file {
            absolute("ca_file", file)?;
        }
        match (&settings.user, &settings.password_file) {
            (None, None) => {}
            (Some(_), None) => return Err(Fault::new("password_file", "it is missing: there is a user")),
            (None, Some(_)) => return Err(Fault::new("user", "it is missing: there is a password")),
            (Some(user), Some(file)) => {
                if user.is_empty() || user.chars().any(char::is_control) {
                    return Err(Fault::new("user", "a user's name is not empty and is one line"));
                }
                absolute("password_file", file)?;
                if settings.tls == Tls::None {
                    return Err(Fault::new("tls", "a password is not sent without encryption"));
                }
            }
        }
        let from = mailbox("from", &settings.from)?;
        if settings.to.is_empty() || settings.to.len() > ADDRESSES {
            return Err(Fault::new("to", format!("there are 1 to {ADDRESSES} addresses")));
        }
        let to = settings.to.iter().enumerate();
        let to = to
            .map(|(at, text)| mailbox(&format!("to[{at}]"), text))
            .collect::<Result<_, _>>()?;
        if settings.deadline.is_zero() || settings.deadline > Duration::from_mins(5) {
            return Err(Fault::new("deadline", "it is more than 0 and at most 5 min"));
        }
        Ok(Self {
            settings: settings.clone(),
            from,
            to,
        })
    }

    pub(super) fn deadline(&self) -> Duration {
        self.settings.deadline
    }

    pub(super) async fn deliver(&self, told: &Notification, origin: &Origin) -> Result<(), Failure> {
        let message = self.message(told, origin)?;
        let sending = async {
            let transport = self.transport().await?;
            transport
                .send(message)
                .await
                .map(drop)
                .map_err(|error| self.failed(&error))
        };
        match tokio::time::timeout(self.settings.deadline, sending).await {
            Ok(result) => result,
            Err(_elapsed) => {
                let text = format!("{} took no mail within {:?}", self.shown(), self.settings.deadline);
                Err(Failure::temporary(text))
            }
        }
    }

    fn message(&self, told: &Notification, origin: &Origin) -> Result<Message, Failure> {
        let mut builder = Message::builder().from(self.from.clone());
        for to in &self.to {
            builder = builder.to(to.clone());
        }
        // One that is repeated is another message, so its name has the time in it.
        let plain: String = origin.instance.chars().filter(char::is_ascii_alphanumeric).collect();
        let id = format!("<{:x}.{:x}@{plain}.perf-agent>", told.wall_ns, fastrand::u64(..));
        builder
            .subject(text::headline(told, origin))
            .message_id(Some(id))
            .header(ContentType::TEXT_PLAIN)
            .body(body(told, origin))
            .map_err(|error| Failure::permanent(format!("cannot write the mail: {error}")))
    }

    async fn transport(&self) -> Result<AsyncSmtpTransport<Tokio1Executor>, Failure> {
        let settings = &self.settings;
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&settings.server)
            .port(self.port())
            .timeout(Some(settings.deadline));
        if settings.tls != Tls::None {
            let (server, ca_file) = (settings.server.clone(), settings.ca_file.clone());
            let made = tokio::task::spawn_blocking(move || parameters(server, ca_file.as_deref())).await;
            let parameters =
                made.map_err(|error| Failure::temporary(format!("cannot read certificates: {error}")))??;
            builder = builder.tls(match settings.tls {
                Tls::Tls => SmtpTls::Wrapper(parameters),
                _ => SmtpTls::Required(parameters),
            });
        }
        if let (Some(user), Some(file)) = (&settings.user, &settings.password_file) {
            let password = secret::read(file).await?;
            builder = builder.credentials(Credentials::new(user.clone(), password.reveal().to_owned()));
        }
        Ok(builder.build())
    }

    fn port(&self) -> u16 {
        self.settings.port.unwrap_or(match self.settings.tls {
            Tls::None => 25,
            Tls::Starttls => 587,
            Tls::Tls => 465,
        })
    }

    fn shown(&self) -> String {
        format!("{}:{}", self.settings.server, self.port())
    }

    fn failed(&self, error: &lettre::transport::smtp::Error) -> Failure {
        let text = format!("mail by {}: {}", self.shown(), with_causes(error));
        if error.is_permanent() {
            Failure::permanent(text)
        } else {
            Failure::temporary(text)
        }
    }
}

fn mailbox(field: &str, text: &str) -> Result<Mailbox, Fault> {
    if text.chars().any(char::is_control) {
        return Err(Fault::new(field, "an address is one line"));
    }
    text.parse()
        .map_err(|error| Fault::new(field, format!("{text:?} is no address: {error}")))
}

/// Reads certificates, so it is called off the asynchronous threads.
fn parameters(server: String, ca_file: Option<&std::path::Path>) -> Result<TlsParameters, Failure> {
    let mut builder = TlsParameters::builder(server);
    if let Some(file) = ca_file {
        let shown = file.display();
        let pem = std::fs::read(file).map_err(|error| Failure::temporary(format!("cannot read {shown}: {error}")))?;
        let certificate = Certificate::from_pem(&pem)
            .map_err(|error| Failure::temporary(format!("cannot read {shown}: {}", with_causes(&error))))?;
        builder = builder
            .certificate_store(CertificateStore::None)
            .add_root_certificate(certificate);
    }
    builder
        .build_rustls()
        .map_err(|error| Failure::temporary(format!("cannot speak TLS: {}", with_causes(&error))))
}

fn body(told: &Notification, origin: &Origin) -> String {
    let mut lines = vec![text::headline(told, origin), String::new()];
    for alert in &told.alerts {
        lines.push(text::alert(alert));
        let value = alert
            .value
            .map_or_else(|| "unknown".to_owned(), |value| value.to_string());
        let figures = format!(
            "{} is {value}, the limit is {}; threshold {}",
            alert.metric, alert.limit, alert.threshold_id
        );
        lines.push(format!("  {}", text::line(&figures, 500)));
        if let Some(runbook) = &alert.runbook {
            lines.push(format!("  {}", text::line(runbook, 2_000)));
        }
        lines.push(String::new());
    }
    if told.more > 0 {
        lines.push(format!("and {} more", told.more));
        lines.push(String::new());
    }
    let at = text::moment(told.wall_ns);
    lines.push(text::line(
        &format!("perf-agent {} on {}, {at}", origin.version, origin.instance),
        300,
    ));
    lines.push(String::new());
    lines.join("\r\n")
}

#[cfg(test)]
mod tests;
