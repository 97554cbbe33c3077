//! What the operator wants to read of single requests: which fields name the user, which are shown, whom to believe about
//! the client's address, and which values of queries may be seen.
//!
//! [`RequestLogSettings`] is what was written; [`Wanted`] is made of it once. Dissectors ask a [`Wanted`] which fields to
//! give along (see [`crate::exchange::Sink::wants`]), the statistics what they mean. Values are judged by [`secret`]: what
//! looks like a credential is kept nowhere, whatever the operator chose.

pub mod client;
mod names;
pub mod secret;
mod values;

use thiserror::Error;

pub use self::client::Forwarded;
use self::client::{Networks, Walk};
pub(crate) use self::names::NAME_BYTES;
pub use self::names::Names;
pub use self::values::Values;

/// Stands for what is not shown.
pub const REDACTED: &str = "[redacted]";
/// Bytes of a chosen field's value, and of a user's id, that are kept.
pub const VALUE_BYTES: usize = 256;
/// Bytes of a value of a query that are kept.
pub const QUERY_VALUE_BYTES: usize = 128;

/// Header fields that may be chosen.
const MAX_HEADERS: usize = 16;
/// Networks of trusted proxies.
const MAX_PROXIES: usize = 64;
/// Keys of queries whose values may be shown.
const MAX_QUERY_KEYS: usize = 64;
/// Bytes of such a key.
const MAX_QUERY_KEY_BYTES: usize = 48;

/// What the operator chose, as written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestLogSettings {
    /// The header field that names the user, such as `x-user-id`. It must be one that a client cannot set itself, and no
    /// credential.
    pub user_header: Option<String>,
    /// Header fields that are shown as the attributes `http.request.header.<name>`; at most 16.
    pub headers: Vec<String>,
    /// Proxies whose word on the client's address is taken: addresses and networks (`10.0.0.0/8`, `fd00::/8`), and
    /// `unix` for all that connect to a Unix socket. None by default.
    pub trusted_proxies: Vec<String>,
    /// Keys of queries whose values are shown, as they are sent (letter case matters); at most 64.
    pub query_values: Vec<String>,
}

/// What is wrong with the settings.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum RequestLogError {
    /// A field or key whose value is a credential.
    #[error(
        "{name:?} cannot be logged: by its name its value is a credential; choose a field that only names something"
    )]
    Credential {
        /// As it was written.
        name: String,
    },
    /// No name of a header field.
    #[error("{name:?} is no name of a header field: letters, digits and !#$%&'*+-.^_`|~, at most 64 bytes")]
    Name {
        /// As it was written.
        name: String,
    },
    /// No key of a query.
    #[error("{key:?} is no key of a query: 1 to 48 bytes without &, =, # and control characters")]
    Key {
        /// As it was written.
        key: String,
    },
    /// No address, no network.
    #[error("{text:?} is no address and no network: {expected}")]
    Network {
        /// As it was written.
        text: String,
        /// What would be one.
        expected: String,
    },
    /// Too many of them.
    #[error("{given} {what} are too many: at most {most}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many there were.
        given: usize,
        /// How many there may be.
        most: usize,
    },
}

/// What the operator chose, checked and ready to be looked up.
#[derive(Debug, Default)]
pub struct Wanted {
    names: Names,
    /// Places in `names`.
    user: Option<u8>,
    shown: Vec<u8>,
    x_forwarded_for: Option<u8>,
    forwarded: Option<u8>,
    proxies: Networks,
    query: Vec<Box<str>>,
}

/// Nothing was chosen.
pub static NOTHING: Wanted = Wanted::nothing();

impl Wanted {
    /// Nothing.
    pub const fn nothing() -> Self {
        Self {
            names: Names::none(),
            user: None,
            shown: Vec::new(),
            x_forwarded_for: None,
            forwarded: None,
            proxies: Networks::none(),
            query: Vec::new(),
        }
    }

    /// Checks what was written.
    ///
    /// # Errors
    /// [`RequestLogError`] for the first thing that is wrong.
    pub fn new(settings: &RequestLogSettings) -> Result<Self, RequestLogError> {
        bounded("headers", settings.headers.len(), MAX_HEADERS)?;
        bounded("trusted proxies", settings.trusted_proxies.len(), MAX_PROXIES)?;
        bounded("keys of queries", settings.query_values.len(), MAX_QUERY_KEYS)?;
        let mut this = Self::nothing();
        let header = |name: &str| {
            let small = name.trim().to_ascii_lowercase();
            if !names::is_name(&small) {
                return Err(RequestLogError::Name { name: name.to_owned() });
            }
            if secret::is_secret_name(&small) {
                return Err(RequestLogError::Credential { name: name.to_owned() });
            }
            Ok(small)
        };
        if let Some(name) = &settings.user_header {
            this.user = Some(this.names.add(&header(name)?));
        }
        for name in &settings.headers {
            let place = this.names.add(&header(name)?);
            if !this.shown.contains(&place) {
                this.shown.push(place);
            }
        }
        if !settings.trusted_proxies.is_empty() {
            this.proxies = Networks::new(&settings.trusted_proxies)?;
            this.x_forwarded_for = Some(this.names.add("x-forwarded-for"));
            this.forwarded = Some(this.names.add("forwarded"));
        }
        for key in &settings.query_values {
            let is_key = (1..=MAX_QUERY_KEY_BYTES).contains(&key.len())
                && !key.chars().any(|letter| letter.is_control() || "&=#".contains(letter));
            if !is_key {
                return Err(RequestLogError::Key { key: key.clone() });
            }
            if secret::is_secret_name(&key.to_ascii_lowercase()) {
                return Err(RequestLogError::Credential { name: key.clone() });
            }
            this.query.push(key.as_str().into());
        }
        Ok(this)
    }

    /// The fields to give along with a request.
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// May the value of this key of a query be shown?
    pub fn shows_query_value(&self, key: &[u8]) -> bool {
        self.query.iter().any(|allowed| allowed.as_bytes() == key)
    }

    /// The values of the field that names the user.
    pub fn user<'a>(&self, chosen: &[(u8, &'a [u8])]) -> impl Iterator<Item = &'a [u8]> {
        of(self.user, chosen)
    }

    /// The fields that are shown, and their values.
    pub fn shown<'a>(&self, chosen: &[(u8, &'a [u8])]) -> impl Iterator<Item = (&str, impl Iterator<Item = &'a [u8]>)> {
        let places = self.shown.iter();
        places.map(move |&place| (self.names.name(place), of(Some(place), chosen)))
    }

    /// What proxies say of the client's address. `cut`: there may be fields that were not seen.
    pub fn forwarded(&self, chosen: &[(u8, &[u8])], cut: bool) -> Forwarded {
        if self.proxies.is_empty() {
            return Forwarded::NotSaid;
        }
        if cut {
            return Forwarded::Unknown;
        }
        let walk = |place: Option<u8>, node: client::Node| {
            let mut walk = Walk::new(&self.proxies);
            for value in of(place, chosen).rev() {
                walk.value(value, node);
            }
            walk.found()
        };
        let lists = walk(self.x_forwarded_for, client::plain_node);
        let elements = walk(self.forwarded, client::forwarded_node);
        match (lists, elements) {
            (only, Forwarded::NotSaid) | (Forwarded::NotSaid, only) => only,
            // A proxy writes one of them and may pass on what the client wrote into the other one.
            (one, other) if one == other => one,
            _ => Forwarded::Unknown,
        }
    }

    /// The client's address, given who connected. `unix`: over a Unix socket.
    pub fn client(&self, peer: Option<std::net::IpAddr>, unix: bool, said: Forwarded) -> Option<std::net::IpAddr> {
        let peer = peer.map(|peer| peer.to_canonical());
        if !self.proxies.trusts(peer, unix) {
            return peer;
        }
        match said {
            Forwarded::NotSaid => peer,
            Forwarded::Unknown => None,
            Forwarded::From(address) => Some(address),
        }
    }
}

/// Values of one field, in order.
fn of<'a>(place: Option<u8>, chosen: &[(u8, &'a [u8])]) -> impl DoubleEndedIterator<Item = &'a [u8]> {
    let values = chosen.iter().filter(move |(other, _)| Some(*other) == place);
    values.map(|(_, value)| *value)
}

fn bounded(what: &'static str, given: usize, most: usize) -> Result<(), RequestLogError> {
    if given > most {
        return Err(RequestLogError::TooMany { what, given, most });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(change: impl FnOnce(&mut RequestLogSettings)) -> Result<Wanted, RequestLogError> {
        let mut settings = RequestLogSettings::default();
        change(&mut settings);
        Wanted::new(&settings)
    }

    #[test]
    fn credentials_are_never_chosen() {
        for name in [
            "Authorization",
            "proxy-authorization",
            "cookie",
            "Set-Cookie",
            "x-api-key",
            "apikey",
            "X-Auth-Token",
            "x-auth",
            "x-csrf-token",
            "client_secret",
            "x-session-id",
            "x-amz-security-token",
            "password",
        ] {
            let expected = RequestLogError::Credential { name: name.to_owned() };
            let of = |result: Result<Wanted, RequestLogError>| result.err();
            assert_eq!(
                of(wanted(|it| it.user_header = Some(name.into()))),
                Some(expected.clone())
            );
            assert_eq!(of(wanted(|it| it.headers = vec![name.into()])), Some(expected.clone()));
            assert_eq!(of(wanted(|it| it.query_values = vec![name.into()])), Some(expected));
        }
        for name in [
            "x-user-id",
            "X-Auth-Request-User",
            "x-keycloak-user",
            "x-author",
            "user-agent",
            "x-tenant",
        ] {
            assert!(wanted(|it| it.headers = vec![name.into()]).is_ok(), "{name}");
        }
    }

    #[test]
    fn what_is_no_name_and_what_is_too_much_is_said() {
        let text = |result: Result<Wanted, RequestLogError>| result.map(|_| ()).unwrap_err().to_string();
        assert_eq!(
            text(wanted(|it| it.headers = vec!["x y".into()])),
            "\"x y\" is no name of a header field: letters, digits and !#$%&'*+-.^_`|~, at most 64 bytes"
        );
        assert_eq!(
            text(wanted(
                |it| it.headers = (0..17).map(|number| format!("x-{number}")).collect()
            )),
            "17 headers are too many: at most 16"
        );
        assert_eq!(
            text(wanted(|it| it.query_values = vec!["a=b".into()])),
            "\"a=b\" is no key of a query: 1 to 48 bytes without &, =, # and control characters"
        );
        assert_eq!(
            text(wanted(|it| it.trusted_proxies = vec!["10.0.0.1/8".into()])),
            "\"10.0.0.1/8\" is no address and no network: bits are set behind its prefix, meant may be 10.0.0.0/8"
        );
        assert!(text(wanted(|it| it.trusted_proxies = vec!["proxy".into()])).contains("\"proxy\""));
    }

    #[test]
    fn a_field_chosen_twice_is_one() {
        let wanted = wanted(|it| {
            it.user_header = Some("X-User".into());
            it.headers = vec!["x-user".into(), "X-USER".into(), "via".into()];
        })
        .unwrap();
        let chosen: &[(u8, &[u8])] = &[(0, b"ann"), (1, b"1.1 a"), (1, b"1.1 b")];
        assert_eq!(wanted.user(chosen).collect::<Vec<_>>(), [b"ann"]);
        let shown = wanted.shown(chosen).map(|(name, values)| (name, values.count()));
        assert_eq!(shown.collect::<Vec<_>>(), [("x-user", 1), ("via", 2)]);
        assert_eq!(wanted.names().find(b"X-User"), Some(0));
        assert_eq!(wanted.names().find(b"x-forwarded-for"), None, "nobody is trusted");
    }
}
