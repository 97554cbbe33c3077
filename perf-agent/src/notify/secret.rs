//! Settings that nobody must read: in no log, no error and no `{:?}`.

use std::fmt;
use std::path::{Path, PathBuf};

use hyper::http::Uri;

use super::failure::{Failure, Fault};

/// A text that is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Hidden(String);

impl Hidden {
    /// The text. Whoever asks must not show it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl<T: Into<String>> From<T> for Hidden {
    fn from(text: T) -> Self {
        Self(text.into())
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("(hidden)")
    }
}

/// Longest file of a secret, bytes.
const SECRET_BYTES: u64 = 16 * 1024;

/// Reads a secret: the file's text without the white space around it. It is read for each attempt, so a new one counts
/// at once.
pub(crate) async fn read(file: &Path) -> Result<Hidden, Failure> {
    use tokio::io::AsyncReadExt as _;
    let shown = file.display();
    let unreadable = |error: std::io::Error| Failure::temporary(format!("cannot read {shown}: {error}"));
    let opened = tokio::fs::File::open(file).await.map_err(unreadable)?;
    let mut bytes = Vec::new();
    let read = opened.take(SECRET_BYTES + 1).read_to_end(&mut bytes).await;
    if read.map_err(unreadable)? as u64 > SECRET_BYTES {
        return Err(Failure::temporary(format!(
            "{shown} is longer than {SECRET_BYTES} bytes"
        )));
    }
    // The error would show the bytes.
    let Ok(text) = String::from_utf8(bytes) else {
        return Err(Failure::temporary(format!("{shown} is no text")));
    };
    match text.trim() {
        "" => Err(Failure::temporary(format!("{shown} is empty"))),
        text => Ok(Hidden(text.to_owned())),
    }
}

/// An address of the web whose path may be a secret: only scheme, host and port are shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Url(Uri);

impl Url {
    /// An address with `http` or `https`, a host, and no user or password in it.
    ///
    /// # Errors
    /// The fault, which does not say the address.
    pub fn parse(field: &str, text: &str) -> Result<Self, Fault> {
        let fault = |problem: &str| Fault::new(field, problem);
        let Ok(uri) = text.parse::<Uri>() else {
            return Err(fault("it is no URL"));
        };
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err(fault("an URL begins with http:// or https://"));
        }
        match uri.authority() {
            Some(authority) if authority.as_str().contains('@') => {
                Err(fault("an URL has no user and password in it: use basic authentication"))
            }
            Some(authority) if !authority.host().is_empty() => Ok(Self(uri)),
            _ => Err(fault("the URL has no host")),
        }
    }

    /// The address itself. Whoever asks must not show it.
    pub(crate) fn reveal(&self) -> &Uri {
        &self.0
    }

    /// Whether it is to be encrypted.
    pub fn is_https(&self) -> bool {
        self.0.scheme_str() == Some("https")
    }

    /// This address with a path behind it.
    pub(crate) fn join(&self, path: &str) -> Result<Self, Fault> {
        let text = self.0.to_string();
        let base = text.split(['?', '#']).next().unwrap_or_default();
        Self::parse("url", &format!("{}{path}", base.trim_end_matches('/')))
    }

    /// A text of others, without this address's path in it.
    pub(crate) fn redact(&self, text: &str) -> String {
        let mut text = text.to_owned();
        let path = self.0.path();
        for secret in [self.0.path_and_query().map_or(path, |both| both.as_str()), path] {
            if secret.len() > 1 {
                text = text.replace(secret, "/…");
            }
        }
        // A part of the path alone is the token of many services.
        let query = self.0.query().unwrap_or_default().split(['&', '=']);
        for part in path.split('/').chain(query).filter(|part| part.len() >= 8) {
            text = text.replace(part, "…");
        }
        text
    }
}

impl fmt::Display for Url {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.0.scheme_str().unwrap_or_default();
        let authority = self.0.authority().map_or("", |authority| authority.as_str());
        let more = self.0.path() != "/" || self.0.query().is_some();
        write!(formatter, "{scheme}://{authority}{}", if more { "/…" } else { "" })
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// Where an address stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// In the settings.
    Here(Url),
    /// In a file, read for each attempt.
    File(PathBuf),
}

impl Address {
    /// From the two settings, of which one must be there.
    ///
    /// # Errors
    /// Both or neither are there, or it is no URL.
    pub fn new(url: Option<&Hidden>, url_file: Option<&Path>) -> Result<Self, Fault> {
        match (url, url_file) {
            (Some(url), None) => Ok(Self::Here(Url::parse("url", url.reveal())?)),
            (None, Some(file)) => Ok(Self::File(absolute("url_file", file)?)),
            (Some(_), Some(_)) => Err(Fault::new("url_file", "it is given together with url")),
            (None, None) => Err(Fault::new("url", "it is missing")),
        }
    }

    /// The address.
    pub(crate) async fn url(&self) -> Result<Url, Failure> {
        match self {
            Self::Here(url) => Ok(url.clone()),
            Self::File(file) => {
                let text = read(file).await?;
                let shown = file.display();
                Url::parse("url", text.reveal())
                    .map_err(|fault| Failure::temporary(format!("{shown}: {}", fault.problem)))
            }
        }
    }
}

/// A path from the root: the agent's own directory is not the operator's.
pub(crate) fn absolute(field: &str, path: &Path) -> Result<PathBuf, Fault> {
    if path.is_absolute() {
        Ok(path.to_owned())
    } else {
        Err(Fault::new(field, format!("{} is no absolute path", path.display())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLACK: &str = "https://hooks.slack.com/services/T000/B000/XXXXXXXXXXXX?x=secretsecret";

    #[test]
    fn an_url_shows_neither_path_nor_query() {
        let url = Url::parse("url", SLACK).unwrap();
        assert_eq!(url.to_string(), "https://hooks.slack.com/…");
        assert_eq!(format!("{:?}", Address::Here(url)), "Here(https://hooks.slack.com/…)");
        assert_eq!(format!("{:?}", Hidden::from(SLACK)), "(hidden)");
        assert_eq!(
            Url::parse("url", "http://[::1]:9093").unwrap().to_string(),
            "http://[::1]:9093"
        );
    }

    #[test]
    fn what_a_server_says_of_the_path_is_not_repeated() {
        let url = Url::parse("url", SLACK).unwrap();
        let said = "no such page: /services/T000/B000/XXXXXXXXXXXX (XXXXXXXXXXXX, secretsecret)";
        assert_eq!(url.redact(said), "no such page: /… (…, …)");
    }

    #[test]
    fn faults_name_the_field_and_not_the_secret() {
        for (text, problem) in [
            ("not a secret url", "it is no URL"),
            ("ftp://secret/x", "an URL begins with http:// or https://"),
            ("/secret", "an URL begins with http:// or https://"),
            (
                "https://me:secret@host/",
                "an URL has no user and password in it: use basic authentication",
            ),
        ] {
            assert_eq!(Url::parse("url", text), Err(Fault::new("url", problem)), "{text}");
        }
        assert_eq!(Address::new(None, None), Err(Fault::new("url", "it is missing")));
        let both = Address::new(Some(&SLACK.into()), Some(Path::new("/x")));
        assert_eq!(both, Err(Fault::new("url_file", "it is given together with url")));
        let relative = Address::new(None, Some(Path::new("x")));
        assert_eq!(relative, Err(Fault::new("url_file", "x is no absolute path")));
    }

    #[test]
    fn a_path_is_joined_without_a_second_slash() {
        for base in ["http://a:1", "http://a:1/", "http://a:1/?x"] {
            let joined = Url::parse("url", base).unwrap().join("/api/v2/alerts").unwrap();
            assert_eq!(joined.reveal().to_string(), "http://a:1/api/v2/alerts");
        }
        let below = Url::parse("url", "http://a:1/am/").unwrap().join("/x").unwrap();
        assert_eq!(below.reveal().path(), "/am/x");
    }

    #[tokio::test]
    async fn a_secret_is_the_files_text_without_what_surrounds_it() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("secret");
        std::fs::write(&file, "  abc\n").unwrap();
        assert_eq!(read(&file).await.unwrap().reveal(), "abc");
        std::fs::write(&file, "\n").unwrap();
        let said = read(&file).await.unwrap_err().text;
        assert_eq!(said, format!("{} is empty", file.display()));
        std::fs::write(&file, vec![b'a'; 20_000]).unwrap();
        let said = read(&file).await.unwrap_err().text;
        assert_eq!(said, format!("{} is longer than 16384 bytes", file.display()));
        let said = read(&directory.path().join("none")).await.unwrap_err().text;
        assert!(said.ends_with("No such file or directory (os error 2)"), "{said}");
    }
}
