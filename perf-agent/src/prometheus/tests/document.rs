//! The list of metrics in `docs/prometheus.md` is that of the code.

use std::fmt::Write as _;

use crate::prometheus::catalogue;

const BEGIN: &str = "<!-- The list is written by a test. -->\n";
const END: &str = "<!-- End of the list. -->\n";

fn list() -> String {
    let mut list = String::from("| metric | type | unit | labels | what it says |\n|---|---|---|---|---|\n");
    for definition in catalogue() {
        let labels: Vec<_> = definition
            .labels
            .iter()
            .copied()
            .chain(definition.extra)
            .map(|label| format!("`{label}`"))
            .collect();
        let unit = definition.unit.as_deref().unwrap_or("");
        let (name, kind) = (definition.full_name(), definition.kind.name());
        writeln!(
            list,
            "| `{name}` | {kind} | {unit} | {} | {} |",
            labels.join(" "),
            definition.help
        )
        .unwrap();
    }
    list
}

#[test]
fn the_list_in_the_repository_is_the_one_of_this_code() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/prometheus.md");
    let kept = std::fs::read_to_string(path).unwrap();
    let (before, rest) = kept.split_once(BEGIN).expect("the list has a begin");
    let (_, after) = rest.split_once(END).expect("the list has an end");
    let made = format!("{before}{BEGIN}{}{END}{after}", list());
    if std::env::var_os("UPDATE").is_some_and(|value| value == "1") {
        std::fs::write(path, &made).unwrap();
    } else {
        assert!(
            kept == made,
            "docs/prometheus.md is not up to date: UPDATE=1 cargo test -p perf-agent --lib the_list_in writes it"
        );
    }
}
