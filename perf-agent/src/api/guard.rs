//! Who may ask: the token where one is set, and, on loopback, only requests for a local name, so that no web page can
//! reach the API through a browser on this machine by pointing a name of its own at 127.0.0.1 (DNS rebinding). Nor may one
//! change anything from elsewhere: browsers say where a request that changes something comes from (Fetch, section 3.2).

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::problem::Problem;

/// What is asked of a request before it is answered.
#[derive(Debug, Default)]
pub struct Guard {
    /// Must be presented as `Authorization: Bearer …`, except for the health of the agent.
    pub token: Option<Vec<u8>>,
    /// Listening on this loopback address: requests must be for a local name.
    pub loopback: Option<SocketAddr>,
}

/// Answers, or refuses to.
pub async fn check(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    let mut response = match guard.refuses(&request) {
        Some(refusal) => refusal,
        None => next.run(request).await,
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

impl Guard {
    fn refuses(&self, request: &Request) -> Option<Response> {
        if self.loopback.is_some() {
            let header = request.headers().get(header::HOST).map(HeaderValue::as_bytes);
            let named = request
                .uri()
                .authority()
                .map(|authority| authority.as_str().as_bytes())
                .or(header);
            if named.is_some_and(|host| !self.is_local(host)) {
                let detail = "this API listens on the loopback interface and answers for local names only: use \
                    localhost or 127.0.0.1";
                return Some(Problem::new(StatusCode::FORBIDDEN, detail).into_response());
            }
        }
        if !request.method().is_safe() && comes_from_elsewhere(request) {
            let detail = "a web page of another origin may not change anything here";
            return Some(Problem::new(StatusCode::FORBIDDEN, detail).into_response());
        }
        let token = self.token.as_ref()?;
        if matches!(request.uri().path(), "/healthz" | "/readyz") {
            return None;
        }
        let given = request.headers().get(header::AUTHORIZATION).map(HeaderValue::as_bytes);
        let given = given.and_then(|value| {
            let (scheme, rest) = value.split_at_checked(7)?;
            scheme.eq_ignore_ascii_case(b"bearer ").then_some(rest.trim_ascii())
        });
        if given.is_some_and(|given| equal(given, token)) {
            return None;
        }
        let detail = "this API needs the token of --token-file, as Authorization: Bearer TOKEN";
        let mut response = Problem::new(StatusCode::UNAUTHORIZED, detail).into_response();
        response
            .headers_mut()
            .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        Some(response)
    }

    fn is_local(&self, authority: &[u8]) -> bool {
        let Some(uri) = std::str::from_utf8(authority)
            .ok()
            .and_then(|text| text.parse::<Uri>().ok())
        else {
            return false;
        };
        let Some(host) = uri.host() else { return false };
        let name = host.strip_suffix('.').unwrap_or(host);
        if name.eq_ignore_ascii_case("localhost") {
            return true;
        }
        let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        address.is_ok_and(|address| {
            address.to_canonical().is_loopback() || Some(address) == self.loopback.map(|own| own.ip())
        })
    }
}

/// Did a browser send it for a page that is not this API's own?
fn comes_from_elsewhere(request: &Request) -> bool {
    let header = |name| request.headers().get(name).map(HeaderValue::as_bytes);
    let Some(origin) = header(header::ORIGIN) else {
        return false;
    };
    let host = origin
        .strip_prefix(b"http://")
        .or_else(|| origin.strip_prefix(b"https://"));
    host.is_none() || host != header(header::HOST)
}

/// Compares without telling by the time it takes where the first difference is.
fn equal(a: &[u8], b: &[u8]) -> bool {
    let difference = a
        .iter()
        .zip(b)
        .fold(0, |difference, (a, b)| std::hint::black_box(difference | (a ^ b)));
    a.len() == b.len() && difference == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(guard: &Guard, host: &str, authorization: Option<&str>, path: &str, expected: Option<u16>) {
        let mut request = Request::builder().uri(path).header("host", host);
        if let Some(authorization) = authorization {
            request = request.header("authorization", authorization);
        }
        let refusal = guard.refuses(&request.body(axum::body::Body::empty()).unwrap());
        assert_eq!(
            refusal.map(|response| response.status().as_u16()),
            expected,
            "{host} {authorization:?} {path}"
        );
    }

    #[test]
    fn on_loopback_only_local_names_are_answered() {
        let guard = Guard {
            token: None,
            loopback: Some("127.0.0.1:9955".parse().unwrap()),
        };
        for host in [
            "localhost",
            "LocalHost:9955",
            "127.0.0.1:9955",
            "127.0.0.2",
            "[::1]:9955",
            "localhost.",
        ] {
            check(&guard, host, None, "/api/v1/agent", None);
        }
        for host in [
            "evil.example",
            "evil.example:9955",
            "localhost.evil.example",
            "10.0.0.1",
            "",
        ] {
            check(&guard, host, None, "/api/v1/agent", Some(403));
        }
        check(&guard, "localhost", None, "http://evil.example/api/v1/agent", Some(403));
        check(&Guard::default(), "evil.example", None, "/api/v1/agent", None);
    }

    #[test]
    fn a_page_from_elsewhere_changes_nothing() {
        let guard = Guard::default();
        let refused = |method: &str, origin: &str| {
            let request = Request::builder().method(method).uri("/api/v1/thresholds");
            let request = request.header("host", "localhost:9955").header("origin", origin);
            guard
                .refuses(&request.body(axum::body::Body::empty()).unwrap())
                .map(|response| response.status().as_u16())
        };
        for origin in [
            "http://evil.example",
            "null",
            "http://localhost:80",
            "https://localhost",
        ] {
            assert_eq!(refused("POST", origin), Some(403), "{origin}");
            assert_eq!(refused("DELETE", origin), Some(403), "{origin}");
            assert_eq!(refused("GET", origin), None, "{origin}");
        }
        assert_eq!(refused("PUT", "http://localhost:9955"), None);
    }

    #[test]
    fn the_token_is_asked_for_except_for_health() {
        let guard = Guard {
            token: Some(b"secret".to_vec()),
            loopback: None,
        };
        check(&guard, "h", None, "/api/v1/agent", Some(401));
        check(&guard, "h", Some("Bearer wrong"), "/api/v1/agent", Some(401));
        check(&guard, "h", Some("Bearer secre"), "/api/v1/agent", Some(401));
        check(&guard, "h", Some("Bearer secret1"), "/api/v1/agent", Some(401));
        check(&guard, "h", Some("Basic secret"), "/api/v1/agent", Some(401));
        check(&guard, "h", Some("bearer secret"), "/api/v1/agent", None);
        check(&guard, "h", None, "/healthz", None);
        check(&guard, "h", None, "/readyz", None);
    }
}
