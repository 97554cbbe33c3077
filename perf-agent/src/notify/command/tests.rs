use std::path::PathBuf;

use super::super::{sample, testing::until};
use super::*;

fn script(words: &[&str], deadline: Duration) -> Command {
    let command = words.iter().map(|word| (*word).to_owned()).collect();
    Command::new(&Settings { command, deadline }).unwrap()
}

fn shell(script_text: &str, deadline: Duration) -> Command {
    script(&["/bin/sh", "-c", script_text], deadline)
}

async fn run(command: &Command) -> Result<(), Failure> {
    command
        .deliver(&sample::firing("team", "shop", 1), &sample::origin())
        .await
}

const LONG: Duration = Duration::from_secs(20);

fn file() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("out");
    (directory, path)
}

#[tokio::test]
async fn a_command_reads_json_and_has_no_environment_but_its_own() {
    let (_directory, path) = file();
    let command = shell(&format!("cat > {0}; env | sort > {0}.env", path.display()), LONG);
    run(&command).await.unwrap();
    let document: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!(document["alerts"][0]["threshold_id"], "slow");
    let environment = std::fs::read_to_string(path.with_extension("env")).unwrap();
    // The shell adds these.
    let own = |line: &&str| !["PWD=", "SHLVL=", "_="].iter().any(|name| line.starts_with(name));
    let lines: Vec<_> = environment.lines().filter(own).collect();
    let search = format!("PATH={}", std::env::var("PATH").unwrap());
    assert_eq!(
        lines,
        [
            search.as_str(),
            "PERF_AGENT_ALERTS=1",
            "PERF_AGENT_GROUP=shop",
            "PERF_AGENT_INSTANCE=web-1",
            "PERF_AGENT_REASON=new",
            "PERF_AGENT_RECEIVER=team",
            "PERF_AGENT_SEVERITY=critical",
            "PERF_AGENT_STATUS=firing",
            "PERF_AGENT_SUMMARY=[CRITICAL] shop on web-1: p95 is 312 ms, more than 200 ms",
        ]
    );
}

#[tokio::test]
async fn words_are_not_read_by_a_shell() {
    let (_directory, path) = file();
    let target = format!("of={}", path.display());
    run(&script(&["/bin/dd", "status=none", &target], LONG)).await.unwrap();
    assert!(std::fs::metadata(&path).unwrap().len() > 100);
    let odd = script(&["/bin/echo", "$(touch /tmp/x)", ";", "false"], LONG);
    run(&odd).await.unwrap();
}

#[tokio::test]
async fn a_failing_command_is_told_with_what_it_wrote() {
    let failure = run(&shell("echo out; echo; echo why >&2; exit 3", LONG))
        .await
        .unwrap_err();
    assert_eq!(failure, Failure::temporary("/bin/sh ended with exit status: 3: why"));
    let failure = run(&shell("echo out; exit 1", LONG)).await.unwrap_err();
    assert_eq!(failure.text, "/bin/sh ended with exit status: 1: out");
    let failure = run(&script(&["/nonexistent/x"], LONG)).await.unwrap_err();
    let text = "cannot start /nonexistent/x: No such file or directory (os error 2)";
    assert_eq!(failure, Failure::temporary(text));
}

#[tokio::test]
async fn a_command_that_takes_too_long_is_killed_with_what_it_started() {
    let (_directory, path) = file();
    let text = format!("sleep 1000 & echo $! > {0}.new; mv {0}.new {0}; wait", path.display());
    let failure = run(&shell(&text, Duration::from_millis(500))).await.unwrap_err();
    assert_eq!(failure.text, "/bin/sh took longer than 500ms and was killed");
    let id: i32 = std::fs::read_to_string(&path).unwrap().trim().parse().unwrap();
    // Whoever inherits it may take its time to read how it ended.
    until(|| {
        let state = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        let ended = state
            .rsplit(") ")
            .next()
            .is_none_or(|rest| rest.starts_with(['Z', 'X']) || rest.is_empty());
        ended.then_some(())
    })
    .await;
}

#[tokio::test]
async fn much_output_is_read_and_forgotten() {
    let text = "head -c 50000000 /dev/zero | tr '\\0' x; echo; exit 1";
    let failure = run(&shell(text, LONG)).await.unwrap_err();
    assert!(failure.text.len() < 300, "{}", failure.text.len());
}

#[tokio::test]
async fn output_held_open_by_others_is_not_waited_for() {
    run(&shell("sleep 5 & exit 0", LONG)).await.unwrap();
    // It does not read its input, either.
    run(&script(&["/bin/true"], LONG)).await.unwrap();
}

#[test]
fn faults_name_the_field() {
    let fault = |command: &[&str], deadline| {
        let command = command.iter().map(|word| (*word).to_owned()).collect();
        Command::new(&Settings { command, deadline }).unwrap_err().to_string()
    };
    assert_eq!(fault(&[], LONG), "command: it is empty");
    assert_eq!(fault(&["sh"], LONG), "command: \"sh\" is no absolute path");
    assert_eq!(
        fault(&["/sh", "a\0"], LONG),
        "command: there are at most 100 words, none with a NUL in it"
    );
    assert_eq!(
        fault(&["/sh"], Duration::ZERO),
        "deadline: it is more than 0 and at most 5 min"
    );
}
