use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;

use super::super::{sample, testing::Certificate};
use super::*;

/// How the server behaves.
#[derive(Clone, Default)]
struct Manner {
    config: Option<Arc<rustls::ServerConfig>>,
    wrapped: bool,
    /// What it says to a recipient.
    recipient: Option<&'static str>,
}

/// A small SMTP server for one connection. Gives all lines it heard, the mail's among them.
fn serve(manner: Manner) -> (u16, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let thread = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut heard = Vec::new();
        if manner.wrapped {
            let connection = rustls::ServerConnection::new(manner.config.clone().unwrap()).unwrap();
            talk(
                rustls::StreamOwned::new(connection, stream),
                &manner,
                false,
                true,
                &mut heard,
            );
        } else if let Some(config) = &manner.config {
            talk(&stream, &manner, true, true, &mut heard);
            let connection = rustls::ServerConnection::new(config.clone()).unwrap();
            talk(
                rustls::StreamOwned::new(connection, stream),
                &manner,
                false,
                false,
                &mut heard,
            );
        } else {
            talk(&stream, &manner, false, true, &mut heard);
        }
        heard
    });
    (port, thread)
}

/// Ends with the connection, or when encryption is to begin.
fn talk(stream: impl Read + Write, manner: &Manner, starttls: bool, greets: bool, heard: &mut Vec<String>) {
    let mut stream = BufReader::new(stream);
    let say = |stream: &mut BufReader<_>, text: &str| -> bool {
        let target: &mut _ = BufReader::get_mut(stream);
        Write::write_all(target, format!("{text}\r\n").as_bytes())
            .and_then(|()| Write::flush(target))
            .is_ok()
    };
    if greets {
        say(&mut stream, "220 test");
    }
    let mut in_data = false;
    loop {
        let mut line = String::new();
        if !stream.read_line(&mut line).is_ok_and(|read| read > 0) {
            return;
        }
        let line = line.strip_suffix("\r\n").expect("lines end in CRLF").to_owned();
        heard.push(line.clone());
        if in_data {
            if line == "." {
                in_data = false;
                say(&mut stream, "250 taken");
            }
            continue;
        }
        let word = line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
        let answer = match word.as_str() {
            "EHLO" if starttls => "250-test\r\n250 STARTTLS",
            "EHLO" => "250-test\r\n250 AUTH PLAIN LOGIN",
            "STARTTLS" => "220 go",
            "AUTH" => "235 welcome",
            "RCPT" => manner.recipient.unwrap_or("250 ok"),
            "DATA" => "354 go",
            "QUIT" => "221 bye",
            _ => "250 ok",
        };
        say(&mut stream, answer);
        in_data = word == "DATA";
        if word == "STARTTLS" || word == "QUIT" {
            return;
        }
    }
}

fn settings(port: u16) -> Settings {
    Settings {
        server: "localhost".to_owned(),
        port: Some(port),
        tls: Tls::None,
        from: "perf-agent <agent@example.org>".to_owned(),
        to: vec!["ops@example.org".to_owned(), "Boss <boss@example.org>".to_owned()],
        deadline: Duration::from_secs(20),
        ..Settings::default()
    }
}

async fn send(settings: &Settings, told: &Notification) -> Result<(), Failure> {
    Email::new(settings).unwrap().deliver(told, &sample::origin()).await
}

#[track_caller]
fn mail(heard: &[String]) -> (Vec<String>, String) {
    let data = heard.iter().position(|line| line == "DATA").expect("there is a mail");
    let end = heard.iter().position(|line| line == ".").expect("it has an end");
    let blank = data + heard[data..].iter().position(String::is_empty).expect("headers end");
    // Quoted-printable, as far as it is needed here.
    let body = heard[blank + 1..end].join("\n").replace("=\n", "").replace("=3D", "=");
    (heard[data + 1..blank].to_vec(), body)
}

#[tokio::test]
async fn a_mail_has_a_subject_and_a_plain_text() {
    let (port, server) = serve(Manner::default());
    let mut told = sample::firing("team", "shop", 1);
    told.alerts.push(sample::resolved_alert(2));
    told.more = 3;
    send(&settings(port), &told).await.unwrap();
    let heard = server.join().unwrap();
    assert!(heard.contains(&"MAIL FROM:<agent@example.org>".to_owned()), "{heard:?}");
    assert!(heard.contains(&"RCPT TO:<ops@example.org>".to_owned()));
    assert!(heard.contains(&"RCPT TO:<boss@example.org>".to_owned()));
    let (headers, body) = mail(&heard);
    let header = |name: &str| {
        let found: Vec<_> = headers
            .iter()
            .filter(|line| line.starts_with(&format!("{name}: ")))
            .collect();
        assert_eq!(found.len(), 1, "{name}: {headers:?}");
        found[0].split_once(": ").unwrap().1.to_owned()
    };
    assert_eq!(
        header("Subject"),
        "[CRITICAL] shop on web-1: 1 alert fires, 1 resolved, 3 more"
    );
    assert_eq!(header("From"), "perf-agent <agent@example.org>");
    assert_eq!(header("Content-Type"), "text/plain; charset=utf-8");
    assert!(!header("Date").is_empty());
    assert_eq!(
        body,
        "[CRITICAL] shop on web-1: 1 alert fires, 1 resolved, 3 more\n\n\
         CRITICAL GET /users/{id} of shop:8080: p95 is 312 ms, more than 200 ms, since 2023-11-14T22:13:20.000Z\n  \
         response_time_p95 is 312, the limit is 200; threshold slow\n  https://wiki/slow\n\n\
         RESOLVED GET /users/{id} of shop:8080: p95 is 312 ms, more than 200 ms, \
         from 2023-11-14T22:13:20.000Z to 2023-11-14T22:14:20.000Z\n  \
         response_time_p95 is 312, the limit is 200; threshold slow\n  https://wiki/slow\n\n\
         and 3 more\n\nperf-agent 1.2.3 on web-1, 2023-11-14T22:13:20.000Z\n"
    );
}

#[tokio::test]
async fn what_is_observed_can_add_no_header_and_no_command() {
    let (port, server) = serve(Manner::default());
    let mut told = sample::firing("team", "shop\r\nBcc: evil@example.org\r\n\r\nhello", 1);
    told.alerts[0].message = "a\r\n.\r\nQUIT\r\nMAIL FROM:<evil@example.org>".to_owned();
    told.alerts[0].subject.name = "GET /\u{2028}\n.\n".to_owned();
    told.alerts[0].runbook = Some("x\r\nTo: evil@example.org".to_owned());
    send(&settings(port), &told).await.unwrap();
    let heard = server.join().unwrap();
    let (headers, _) = mail(&heard);
    // Longer headers go on in lines that begin with white space.
    let begins = |line: &&String| !line.starts_with([' ', '\t']);
    let mut names: Vec<_> = headers
        .iter()
        .filter(begins)
        .map(|line| line.split(':').next().unwrap())
        .collect();
    names.sort_unstable();
    let expected = [
        "Content-Transfer-Encoding",
        "Content-Type",
        "Date",
        "From",
        "Message-ID",
        "Subject",
        "To",
    ];
    assert_eq!(names, expected);
    let commands = ["MAIL ", "RCPT ", "DATA", "QUIT"];
    let count = |command: &str| heard.iter().filter(|line| line.starts_with(command)).count();
    assert_eq!(commands.map(count), [1, 2, 1, 1], "{heard:?}");
}

#[tokio::test]
async fn a_refusal_is_for_good_and_a_delay_is_not() {
    for (answer, permanent) in [("550 nobody here", true), ("451 later", false)] {
        let manner = Manner {
            recipient: Some(answer),
            ..Manner::default()
        };
        let (port, server) = serve(manner);
        let failure = send(&settings(port), &sample::firing("a", "b", 1)).await.unwrap_err();
        assert_eq!(failure.permanent, permanent, "{failure}");
        let said = answer.split_once(' ').unwrap().1;
        assert!(
            failure.text.starts_with(&format!("mail by localhost:{port}: ")),
            "{failure}"
        );
        assert!(failure.text.contains(said), "{failure}");
        server.join().unwrap();
    }
}

#[tokio::test]
async fn a_password_is_sent_over_tls_and_never_shown() {
    let Some(certificate) = Certificate::make() else { return };
    let password = certificate.directory.path().join("password");
    std::fs::write(&password, "open sesame\n").unwrap();
    for wrapped in [true, false] {
        let manner = Manner {
            config: Some(certificate.server_config()),
            wrapped,
            recipient: None,
        };
        let (port, server) = serve(manner);
        let settings = Settings {
            tls: if wrapped { Tls::Tls } else { Tls::Starttls },
            ca_file: Some(certificate.authority()),
            user: Some("agent".to_owned()),
            password_file: Some(password.clone()),
            ..settings(port)
        };
        send(&settings, &sample::firing("a", "b", 1)).await.unwrap();
        let heard = server.join().unwrap();
        let login = heard.iter().find(|line| line.starts_with("AUTH")).unwrap();
        // "\0agent\0open sesame" in base 64.
        assert_eq!(login, "AUTH PLAIN AGFnZW50AG9wZW4gc2VzYW1l");
        assert!(!format!("{:?}", Email::new(&settings).unwrap()).contains("sesame"));
    }
}

#[tokio::test]
async fn a_server_that_is_not_trusted_or_has_no_tls_gets_nothing() {
    let (port, server) = serve(Manner::default());
    let plain = Settings {
        tls: Tls::Starttls,
        ..settings(port)
    };
    let failure = send(&plain, &sample::firing("a", "b", 1)).await.unwrap_err();
    assert!(
        !failure.permanent && failure.text.to_lowercase().contains("starttls"),
        "{failure}"
    );
    let heard = server.join().unwrap();
    assert!(!heard.iter().any(|line| line.starts_with("MAIL")), "{heard:?}");

    let Some(certificate) = Certificate::make() else { return };
    let manner = Manner {
        config: Some(certificate.server_config()),
        ..Manner::default()
    };
    let (port, server) = serve(manner);
    let untrusted = Settings {
        tls: Tls::Starttls,
        ..settings(port)
    };
    let failure = send(&untrusted, &sample::firing("a", "b", 1)).await.unwrap_err();
    assert!(!failure.permanent && failure.text.contains("certificate"), "{failure}");
    assert!(!server.join().unwrap().iter().any(|line| line.starts_with("MAIL")));
}

#[tokio::test]
async fn a_server_that_says_nothing_is_left_at_the_deadline() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let settings = Settings {
        deadline: Duration::from_millis(300),
        ..settings(listener.local_addr().unwrap().port())
    };
    let failure = send(&settings, &sample::firing("a", "b", 1)).await.unwrap_err();
    assert!(!failure.permanent, "{failure}");
    // Nobody heard anything but a connection.
    let (mut stream, _): (TcpStream, _) = listener.accept().unwrap();
    let mut heard = Vec::new();
    stream.read_to_end(&mut heard).unwrap();
    assert_eq!(heard, b"");
}

#[test]
fn faults_name_the_field() {
    let fault = |change: fn(&mut Settings)| {
        let mut settings = settings(25);
        change(&mut settings);
        Email::new(&settings).unwrap_err().to_string()
    };
    assert_eq!(
        fault(|s| s.server = "a b".to_owned()),
        "server: \"a b\" is no server's name"
    );
    assert_eq!(fault(|s| s.port = Some(0)), "port: 0 is no port");
    assert_eq!(fault(|s| s.to.clear()), "to: there are 1 to 50 addresses");
    assert_eq!(
        fault(|s| s.to[1] = "a@b\r\nBcc: c@d".to_owned()),
        "to[1]: an address is one line"
    );
    assert!(fault(|s| s.from = "nobody".to_owned()).starts_with("from: \"nobody\" is no address: "));
    assert_eq!(
        fault(|s| s.user = Some("a".to_owned())),
        "password_file: it is missing: there is a user"
    );
    let both = |s: &mut Settings| {
        s.user = Some("a".to_owned());
        s.password_file = Some("/x".into());
    };
    assert_eq!(fault(both), "tls: a password is not sent without encryption");
}
