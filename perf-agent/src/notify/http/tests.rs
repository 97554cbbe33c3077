use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use super::super::testing::{Certificate, Reply, Web};
use super::*;

fn settings(url: &str) -> Settings {
    Settings {
        url: Some(url.into()),
        deadline: Duration::from_secs(5),
        ..Settings::default()
    }
}

async fn post(settings: &Settings) -> Result<(), Failure> {
    let server = Server::new(settings).unwrap();
    server
        .post(None, b"{\"a\":1}".to_vec(), 1_700_000_000_000_000_000)
        .await
}

/// What is said of a server that answers so.
async fn said(reply: Reply) -> (Failure, String) {
    let web = Web::start([reply]).await;
    let failure = post(&settings(&web.url())).await.unwrap_err();
    (failure, format!("http://127.0.0.1:{}/…", web.port))
}

#[tokio::test]
async fn json_is_posted_with_its_headers() {
    let web = Web::start([Reply::ok()]).await;
    let mut settings = settings(&web.url());
    settings.headers = vec![("X-Team".to_owned(), "a".into())];
    post(&settings).await.unwrap();
    let request = &web.requests()[0];
    assert_eq!(request.line(), "POST /hook/0123456789 HTTP/1.1");
    assert_eq!(request.header("content-type"), Some("application/json"));
    assert_eq!(request.header("x-team"), Some("a"));
    assert_eq!(request.header("host"), Some(format!("127.0.0.1:{}", web.port).as_str()));
    assert_eq!(request.body, "{\"a\":1}");
}

#[tokio::test]
async fn one_is_known_by_password_or_token_and_neither_is_repeated() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("secret");
    std::fs::write(&file, "open sesame\n").unwrap();
    let echo = Reply::status(
        "401 Unauthorized",
        "",
        "no such thing as open sesame at /hook/0123456789",
    );
    let web = Web::start([echo]).await;
    let mut settings = settings(&web.url());
    settings.auth = Auth::Basic {
        user: "Aladdin".to_owned(),
        password_file: file.clone(),
    };
    let failure = post(&settings).await.unwrap_err();
    let shown = format!(
        "http://127.0.0.1:{}/… answered 401 Unauthorized: no such thing as … at /…",
        web.port
    );
    assert_eq!(failure, Failure::permanent(shown));
    settings.auth = Auth::Bearer {
        token_file: file.clone(),
    };
    post(&settings).await.unwrap_err();
    let sent: Vec<_> = web
        .requests()
        .iter()
        .map(|request| request.header("authorization").unwrap().to_owned())
        .collect();
    assert_eq!(sent, ["Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==", "Bearer open sesame"]);
    std::fs::write(&file, "a\nb").unwrap();
    let failure = post(&settings).await.unwrap_err();
    assert_eq!(failure.text, format!("{} holds what no header can", file.display()));
}

#[tokio::test]
async fn an_address_may_stand_in_a_file() {
    let web = Web::start([Reply::ok()]).await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("url");
    std::fs::write(&file, web.url() + "\n").unwrap();
    let settings = Settings {
        url_file: Some(file),
        ..Settings::default()
    };
    post(&settings).await.unwrap();
    assert_eq!(web.requests()[0].line(), "POST /hook/0123456789 HTTP/1.1");
}

#[tokio::test]
async fn what_is_worth_another_attempt_is_told_from_what_is_not() {
    for (status, permanent) in [
        ("400 Bad Request", true),
        ("404 Not Found", true),
        ("408 Request Timeout", false),
        ("425 Too Early", false),
        ("429 Too Many Requests", false),
        ("500 Internal Server Error", false),
        ("503 Service Unavailable", false),
    ] {
        let (failure, url) = said(Reply::status(status, "", "\n why \nmore")).await;
        assert_eq!(failure.text, format!("{url} answered {status}: why"));
        assert_eq!(failure.permanent, permanent, "{status}");
        assert_eq!(failure.retry_after, None);
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let (failure, url) = said(Reply::status("302 Found", "location: http://127.0.0.1:1/\r\n", "")).await;
    let expected = Failure::permanent(format!("{url} answered 302 Found (redirects are not followed)"));
    assert_eq!(failure, expected);
}

#[tokio::test]
async fn a_server_may_ask_for_patience() {
    let (failure, _) = said(Reply::status("429 Too Many Requests", "retry-after: 7\r\n", "")).await;
    assert_eq!(failure.retry_after, Some(Duration::from_secs(7)));
    let (failure, _) = said(Reply::status("503 Service Unavailable", "retry-after: 86400\r\n", "")).await;
    assert_eq!(failure.retry_after, Some(LONGEST_RETRY_AFTER));
}

#[test]
fn retry_after_is_seconds_or_a_date() {
    let now = 1_700_000_000_000_000_000;
    assert_eq!(wait(" 3 ", now), Some(Duration::from_secs(3)));
    assert_eq!(
        wait("Tue, 14 Nov 2023 22:13:30 GMT", now),
        Some(Duration::from_secs(10))
    );
    assert_eq!(wait("Tue, 14 Nov 2023 22:13:00 GMT", now), Some(Duration::ZERO));
    assert_eq!(wait("soon", now), None);
    assert_eq!(wait("-1", now), None);
}

#[tokio::test]
async fn a_server_that_never_answers_is_left_at_the_deadline() {
    let web = Web::start([Reply::Never]).await;
    let mut settings = settings(&web.url());
    settings.deadline = Duration::from_millis(200);
    let failure = post(&settings).await.unwrap_err();
    let text = format!("http://127.0.0.1:{}/… did not answer within 200ms", web.port);
    assert_eq!(failure, Failure::temporary(text));
}

#[tokio::test]
async fn a_server_that_closes_or_is_not_there_is_said() {
    let (failure, url) = said(Reply::Close).await;
    let text = format!("no answer from {url}: connection closed before message completed");
    assert_eq!(failure, Failure::temporary(text));

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let failure = post(&settings(&format!("http://127.0.0.1:{port}"))).await.unwrap_err();
    let text =
        format!("cannot connect to http://127.0.0.1:{port}: tcp connect error: Connection refused (os error 111)");
    assert_eq!(failure, Failure::temporary(text));
}

#[tokio::test]
async fn no_more_of_a_body_is_read_than_its_bound() {
    let (failure, url) = said(Reply::Endless("500 Internal Server Error")).await;
    assert_eq!(failure.text, format!("{url} answered 500 Internal Server Error"));
    let web = Web::start([Reply::Endless("200 OK")]).await;
    assert_eq!(post(&settings(&web.url())).await, Ok(()));
}

#[tokio::test]
async fn an_own_authority_is_trusted_and_no_other() {
    let Some(certificate) = Certificate::make() else { return };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let config = certificate.server_config();
    // Two connections: the first client does not trust it.
    let server = std::thread::spawn(move || {
        let mut heard = Vec::new();
        for _ in 0..2 {
            let (stream, _) = listener.accept().unwrap();
            let connection = rustls::ServerConnection::new(config.clone()).unwrap();
            let mut stream = rustls::StreamOwned::new(connection, stream);
            let mut buffer = [0; 4096];
            match stream.read(&mut buffer) {
                Ok(read) => {
                    heard.push(String::from_utf8_lossy(&buffer[..read]).into_owned());
                    stream
                        .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                        .unwrap();
                }
                Err(error) => heard.push(error.to_string()),
            }
        }
        heard
    });
    let mut settings = settings(&format!("https://localhost:{port}/x"));
    let failure = post(&settings).await.unwrap_err();
    let begins = format!("cannot connect to https://localhost:{port}/…: ");
    assert!(failure.text.starts_with(&begins), "{failure}");
    assert!(failure.text.contains("invalid peer certificate"), "{failure}");
    assert!(!failure.permanent);
    settings.ca_file = Some(certificate.authority());
    post(&settings).await.unwrap();
    let heard = server.join().unwrap();
    assert!(heard[1].starts_with("POST /x HTTP/1.1\r\n"), "{heard:?}");
}

#[tokio::test]
async fn an_authority_that_is_none_is_said() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ca.pem");
    std::fs::write(&file, "nothing").unwrap();
    let mut settings = settings("https://localhost:1/");
    settings.ca_file = Some(file.clone());
    let failure = post(&settings).await.unwrap_err();
    assert_eq!(failure.text, format!("{} has no certificate in it", file.display()));
}

#[test]
fn faults_name_the_field() {
    let faulty = |change: fn(&mut Settings)| {
        let mut settings = settings("http://localhost/");
        change(&mut settings);
        Server::new(&settings).unwrap_err()
    };
    let headers = |name: &str, value: &str| vec![(name.to_owned(), value.into())];
    let fault = faulty(|settings| settings.url = None);
    assert_eq!(fault.to_string(), "url: it is missing");
    let mut bad = settings("http://localhost/");
    bad.headers = headers("X-Key", "sec\nret");
    let fault = Server::new(&bad).unwrap_err();
    assert_eq!(fault.to_string(), "headers.X-Key: the value cannot be that of a header");
    bad.headers = headers("Host", "a");
    assert_eq!(
        Server::new(&bad).unwrap_err().to_string(),
        "headers.Host: it is not for settings to say"
    );
    bad.headers = headers("a b", "a");
    assert_eq!(
        Server::new(&bad).unwrap_err().to_string(),
        "headers: \"a b\" is no header's name"
    );
    let fault = faulty(|settings| settings.deadline = Duration::ZERO);
    assert_eq!(fault.to_string(), "deadline: it is between 100 ms and 2 min");
    let fault = faulty(|settings| settings.ca_file = Some("ca.pem".into()));
    assert_eq!(fault.to_string(), "ca_file: ca.pem is no absolute path");
    let fault = faulty(|settings| {
        settings.auth = Auth::Basic {
            user: "a:b".to_owned(),
            password_file: "/x".into(),
        };
    });
    assert_eq!(fault.field, "user");
}

#[test]
fn base64_is_that_of_the_rfc() {
    for (plain, coded) in [
        ("", ""),
        ("f", "Zg=="),
        ("fo", "Zm8="),
        ("foo", "Zm9v"),
        ("foob", "Zm9vYg=="),
    ] {
        assert_eq!(base64(plain.as_bytes()), coded);
    }
    assert_eq!(base64(&[0xff, 0xef, 0xfe]), "/+/+");
}
