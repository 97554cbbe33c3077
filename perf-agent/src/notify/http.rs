//! A small HTTP client: POST to one address, with one deadline for everything, and an answer of bounded size.
//!
//! It follows no redirects, keeps no connections (notifications are rare) and heeds no proxy. The cryptography is ring's.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::Request;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER, USER_AGENT};
use hyper::http::StatusCode;
use hyper_rustls::{ConfigBuilderExt as _, HttpsConnector};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tokio::sync::OnceCell;

use super::failure::{Failure, Fault, with_causes};
use super::secret::{self, Address, Hidden, Url, absolute};

/// Longest answer that is read, bytes.
pub const BODY_BYTES: usize = 64 * 1024;
/// Longest first line of an answer that an error repeats, bytes.
const SAID_BYTES: usize = 200;
/// Most headers of one's own.
const HEADERS: usize = 32;
/// Longest time that a server may ask to be left alone.
pub const LONGEST_RETRY_AFTER: Duration = Duration::from_hours(1);
/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(10);
/// Deadlines that a receiver may have.
const DEADLINES: std::ops::RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_mins(2);

/// How one is known to the server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Auth {
    /// Not at all.
    #[default]
    None,
    /// By name and password.
    Basic {
        /// The name.
        user: String,
        /// The file with the password.
        password_file: PathBuf,
    },
    /// By a token.
    Bearer {
        /// The file with the token.
        token_file: PathBuf,
    },
}

/// What is configured of a server.
#[derive(Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where, if it stands here.
    pub url: Option<Hidden>,
    /// The file that says where: for addresses that are secrets themselves.
    pub url_file: Option<PathBuf>,
    /// More headers.
    pub headers: Vec<(String, Hidden)>,
    /// How one is known.
    pub auth: Auth,
    /// The certificate authorities (PEM) to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// How long everything together may take.
    pub deadline: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            url: None,
            url_file: None,
            headers: Vec::new(),
            auth: Auth::None,
            ca_file: None,
            deadline: Duration::from_secs(10),
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = self.url.as_ref().map(|url| Url::parse("url", url.reveal()));
        formatter
            .debug_struct("Settings")
            .field("url", &url)
            .field("url_file", &self.url_file)
            .field("headers", &self.headers)
            .field("auth", &self.auth)
            .field("ca_file", &self.ca_file)
            .field("deadline", &self.deadline)
            .finish()
    }
}

/// A server to which is posted.
pub struct Server {
    address: Address,
    headers: HeaderMap,
    auth: Auth,
    ca_file: Option<PathBuf>,
    deadline: Duration,
    // Made for the first attempt: the system's certificates are read for it.
    client: OnceCell<Client>,
}

type Client = legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

impl fmt::Debug for Server {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Server")
            .field("address", &self.address)
            .field("auth", &self.auth)
            .field("ca_file", &self.ca_file)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

impl Server {
    /// From the settings. Files are not read yet.
    ///
    /// # Errors
    /// The first setting that cannot be.
    pub fn new(settings: &Settings) -> Result<Self, Fault> {
        let address = Address::new(settings.url.as_ref(), settings.url_file.as_deref())?;
        let mut headers = HeaderMap::new();
        if settings.headers.len() > HEADERS {
            return Err(Fault::new("headers", format!("there are more than {HEADERS}")));
        }
        for (name, value) in &settings.headers {
            let (name, value) = header(name, value)?;
            headers.append(name, value);
        }
        match &settings.auth {
            Auth::None => {}
            Auth::Basic { user, password_file } => {
                if user.is_empty() || user.contains(':') || user.chars().any(char::is_control) {
                    let problem = "a user's name is not empty and has no colon and no control character";
                    return Err(Fault::new("user", problem));
                }
                absolute("password_file", password_file)?;
            }
            Auth::Bearer { token_file } => {
                absolute("token_file", token_file)?;
            }
        }
        if let Some(file) = &settings.ca_file {
            absolute("ca_file", file)?;
        }
        if !DEADLINES.contains(&settings.deadline) {
            return Err(Fault::new("deadline", "it is between 100 ms and 2 min"));
        }
        Ok(Self {
            address,
            headers,
            auth: settings.auth.clone(),
            ca_file: settings.ca_file.clone(),
            deadline: settings.deadline,
            client: OnceCell::new(),
        })
    }

    /// How long a [`Self::post`] may take.
    pub fn deadline(&self) -> Duration {
        self.deadline
    }

    /// Posts JSON to the address, or to a path below it. Every answer of 2xx is a success.
    ///
    /// # Errors
    /// The server cannot be reached, does not answer in time or does not answer 2xx.
    pub async fn post(&self, below: Option<&str>, json: Vec<u8>, wall_ns: u64) -> Result<(), Failure> {
        let url = self.address.url().await?;
        let url = match below {
            Some(path) => url.join(path).map_err(|fault| Failure::permanent(fault.problem))?,
            None => url,
        };
        let exchange = self.exchange(&url, json, wall_ns);
        match tokio::time::timeout(self.deadline, exchange).await {
            Ok(result) => result,
            Err(_elapsed) => {
                let text = format!("{url} did not answer within {:?}", self.deadline);
                Err(Failure::temporary(text))
            }
        }
    }

    async fn exchange(&self, url: &Url, json: Vec<u8>, wall_ns: u64) -> Result<(), Failure> {
        let client = self.client.get_or_try_init(|| client(self.ca_file.as_deref())).await?;
        let request = Request::post(url.reveal().clone()).body(Full::new(Bytes::from(json)));
        let Ok(mut request) = request else {
            return Err(Failure::permanent(format!("cannot make a request for {url}")));
        };
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(
            USER_AGENT,
            HeaderValue::from_static(concat!("perf-agent/", env!("CARGO_PKG_VERSION"))),
        );
        let mut secrets = Vec::new();
        match &self.auth {
            Auth::None => {}
            Auth::Basic { user, password_file } => {
                let password = secret::read(password_file).await?;
                let pair = format!("{user}:{}", password.reveal());
                headers.insert(
                    AUTHORIZATION,
                    credentials("Basic", &base64(pair.as_bytes()), password_file)?,
                );
                secrets.push(password);
            }
            Auth::Bearer { token_file } => {
                let token = secret::read(token_file).await?;
                headers.insert(AUTHORIZATION, credentials("Bearer", token.reveal(), token_file)?);
                secrets.push(token);
            }
        }
        for (name, value) in &self.headers {
            headers.insert(name, value.clone());
        }
        let response = client.request(request).await.map_err(|error| unreached(url, &error))?;
        let status = response.status();
        let retry_after = response.headers().get(RETRY_AFTER).cloned();
        if status.is_success() {
            return Ok(());
        }
        let body = Limited::new(response.into_body(), BODY_BYTES).collect().await;
        let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        let mut said = url.redact(first_line(&String::from_utf8_lossy(&body)));
        for secret in secrets {
            said = said.replace(secret.reveal(), "…");
        }
        Err(refused(url, status, &said, retry_after.as_ref(), wall_ns))
    }
}

fn header(name: &str, value: &Hidden) -> Result<(HeaderName, HeaderValue), Fault> {
    let field = || format!("headers.{name}");
    let Ok(parsed) = HeaderName::from_bytes(name.as_bytes()) else {
        return Err(Fault::new("headers", format!("{name:?} is no header's name")));
    };
    if [
        "host",
        "content-length",
        "transfer-encoding",
        "connection",
        "content-type",
    ]
    .contains(&parsed.as_str())
    {
        return Err(Fault::new(field(), "it is not for settings to say"));
    }
    let Ok(mut value) = HeaderValue::from_str(value.reveal()) else {
        return Err(Fault::new(field(), "the value cannot be that of a header"));
    };
    value.set_sensitive(true);
    Ok((parsed, value))
}

fn credentials(scheme: &str, value: &str, file: &Path) -> Result<HeaderValue, Failure> {
    let Ok(mut value) = HeaderValue::from_str(&format!("{scheme} {value}")) else {
        let text = format!("{} holds what no header can", file.display());
        return Err(Failure::temporary(text));
    };
    value.set_sensitive(true);
    Ok(value)
}

/// Reads certificates, so it is done off the asynchronous threads.
async fn client(ca_file: Option<&Path>) -> Result<Client, Failure> {
    let ca_file = ca_file.map(Path::to_owned);
    let made = tokio::task::spawn_blocking(move || tls(ca_file.as_deref())).await;
    let tls = made.map_err(|error| Failure::temporary(format!("cannot read certificates: {error}")))??;
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_connect_timeout(Some(CONNECT));
    let connector = hyper_rustls::HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http()
        .enable_http1()
        .wrap_connector(connector);
    let mut builder = legacy::Client::builder(TokioExecutor::new());
    Ok(builder.pool_max_idle_per_host(0).build(connector))
}

fn tls(ca_file: Option<&Path>) -> Result<rustls::ClientConfig, Failure> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Failure::temporary(format!("cannot speak TLS: {error}")))?;
    let config = match ca_file {
        Some(file) => builder.with_root_certificates(authorities(file)?),
        None => match builder.with_native_roots() {
            Ok(builder) => builder,
            // A host without certificates reaches servers without TLS all the same.
            Err(_none_found) => {
                rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                    .with_safe_default_protocol_versions()
                    .map_err(|error| Failure::temporary(format!("cannot speak TLS: {error}")))?
                    .with_root_certificates(rustls::RootCertStore::empty())
            }
        },
    };
    Ok(config.with_no_client_auth())
}

/// The certificates of a PEM file.
fn authorities(file: &Path) -> Result<rustls::RootCertStore, Failure> {
    let shown = file.display();
    let unreadable = |error: &dyn fmt::Display| Failure::temporary(format!("cannot read {shown}: {error}"));
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).map_err(|error| unreadable(&error))? {
        let certificate = certificate.map_err(|error| unreadable(&error))?;
        roots.add(certificate).map_err(|error| unreadable(&error))?;
    }
    if roots.is_empty() {
        return Err(Failure::temporary(format!("{shown} has no certificate in it")));
    }
    Ok(roots)
}

fn unreached(url: &Url, error: &legacy::Error) -> Failure {
    let what = if error.is_connect() {
        "cannot connect to"
    } else {
        "no answer from"
    };
    // The error itself says no more than that.
    let causes = std::error::Error::source(error).map_or_else(|| error.to_string(), with_causes);
    Failure::temporary(format!("{what} {url}: {causes}"))
}

fn refused(url: &Url, status: StatusCode, said: &str, retry_after: Option<&HeaderValue>, wall_ns: u64) -> Failure {
    let note = if status.is_redirection() {
        " (redirects are not followed)"
    } else {
        ""
    };
    let said = super::text::line(said, SAID_BYTES);
    let colon = if said.is_empty() { "" } else { ": " };
    let text = format!("{url} answered {status}{note}{colon}{said}");
    let worth_it = status.is_server_error()
        || [
            StatusCode::REQUEST_TIMEOUT,
            StatusCode::TOO_EARLY,
            StatusCode::TOO_MANY_REQUESTS,
        ]
        .contains(&status);
    if !worth_it {
        return Failure::permanent(text);
    }
    Failure {
        retry_after: retry_after.and_then(|value| wait(value.to_str().ok()?, wall_ns)),
        ..Failure::temporary(text)
    }
}

fn first_line(body: &str) -> &str {
    body.lines()
        .map(str::trim)
        .find(|line| !line.is_empty())
        .unwrap_or_default()
}

/// What `Retry-After` says, in seconds or as a date, up to [`LONGEST_RETRY_AFTER`].
fn wait(value: &str, wall_ns: u64) -> Option<Duration> {
    let value = value.trim();
    let seconds = if let Ok(seconds) = value.parse::<u64>() {
        seconds
    } else {
        let moment = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(value).ok()?;
        let now = i64::try_from(wall_ns / 1_000_000_000).ok()?;
        u64::try_from(moment.as_second().saturating_sub(now)).unwrap_or(0)
    };
    Some(Duration::from_secs(seconds).min(LONGEST_RETRY_AFTER))
}

/// RFC 4648, with padding.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let byte = |at: usize| u32::from(three.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..4 {
            if digit <= three.len() {
                text.push(char::from(DIGITS[(bits >> (18 - 6 * digit) & 63) as usize]));
            } else {
                text.push('=');
            }
        }
    }
    text
}

#[cfg(test)]
mod tests;
