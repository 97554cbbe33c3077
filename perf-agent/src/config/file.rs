//! The configuration file: TOML, in sections. What nobody reads is a mistake and not passed over, and near names are told.
//!
//! Here is how it is read; its form is in [`super::sections`], and what its values mean is checked where options are ([`crate::cli::options`]), together with
//! what was typed. `default.toml` beside this file documents every key and is what `perf-agent config print-default` prints;
//! tests hold the two against each other.

use std::fs;
use std::path::Path;

use toml::{Table, Value};

use super::sections::File;

/// Every key with its default, explained.
pub const DEFAULT: &str = include_str!("default.toml");
/// Read unless another file is named, if it is there.
pub const USUAL: &str = "/etc/perf-agent/config.toml";
/// What variables that set keys begin with.
const VARIABLES: &str = "PERF_AGENT_";
/// Larger than anybody writes.
const MOST_BYTES: u64 = 1 << 20;

/// Reads the file of this name, or the usual one if none is named and it is there, and lays the environment over it:
/// `variables` are all of it.
///
/// # Errors
/// What is wrong, with the place in the file.
pub fn read(path: Option<&Path>, variables: impl Iterator<Item = (String, String)>) -> Result<File, Vec<String>> {
    let path = chosen(path);
    let text = path.map(text_of).transpose().map_err(|fault| vec![fault])?;
    let place = path.map_or_else(|| "configuration".to_owned(), |path| path.display().to_string());
    of(text.as_deref().unwrap_or_default(), &place, variables)
}

/// From the file's text; `place` says where it stands.
///
/// # Errors
/// As [`read`].
pub fn of(text: &str, place: &str, variables: impl Iterator<Item = (String, String)>) -> Result<File, Vec<String>> {
    let fault = |error: &toml::de::Error| vec![format!("{place}: {}", told(error))];
    // With its places, as long as it is as it was written.
    toml::from_str::<File>(text).map_err(|error| fault(&error))?;
    let mut table: Table = toml::from_str(text).map_err(|error| fault(&error))?;
    let mut faults = Vec::new();
    for (name, value) in variables {
        let Some(key) = name.strip_prefix(VARIABLES) else {
            continue;
        };
        if let Some((section, key)) = key_of(key) {
            let mut changed = table.clone();
            set(&mut changed, section, key, &value);
            match changed.clone().try_into::<File>() {
                Ok(_) => table = changed,
                Err(error) => faults.push(format!("{name}={value}: {}", told(&error).trim())),
            }
        }
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    table.try_into().map_err(|error| fault(&error))
}

/// The named file, or the usual one if it is there.
pub fn chosen(named: Option<&Path>) -> Option<&Path> {
    named.or_else(|| Some(Path::new(USUAL)).filter(|usual| usual.exists()))
}

fn text_of(path: &Path) -> Result<String, String> {
    let fault = |reason: &dyn std::fmt::Display| format!("{}: {reason}", path.display());
    let length = fs::metadata(path).map_err(|error| fault(&error))?.len();
    if length > MOST_BYTES {
        return Err(fault(&"too large to be a configuration"));
    }
    fs::read_to_string(path).map_err(|error| fault(&error))
}

/// Section and key that a variable's name means, `HISTORY_RETENTION`; only what can be said in one value.
fn key_of(name: &str) -> Option<(&'static str, &'static str)> {
    static KEYS: std::sync::LazyLock<Vec<(String, String)>> = std::sync::LazyLock::new(|| {
        let defaults: Table = toml::from_str(DEFAULT).unwrap_or_default();
        let keys = defaults
            .into_iter()
            .filter_map(|(section, keys)| Some((section, keys.try_into::<Table>().ok()?)));
        keys.flat_map(|(section, keys)| keys.into_iter().map(move |(key, _)| (section.clone(), key)))
            .collect()
    });
    let is = |(section, key): &&(String, String)| format!("{section}_{key}").eq_ignore_ascii_case(name);
    KEYS.iter()
        .find(is)
        .map(|(section, key)| (section.as_str(), key.as_str()))
}

/// A variable's value as the file would have it: what is TOML, else a text.
fn set(table: &mut Table, section: &str, key: &str, text: &str) {
    let parsed = toml::from_str::<Table>(&format!("value = {text}"));
    let value = parsed.ok().and_then(|mut table| table.remove("value"));
    let value = value.unwrap_or_else(|| Value::String(text.to_owned()));
    let section = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
    if let Value::Table(section) = section {
        section.insert(key.to_owned(), value);
    }
}

/// The error, and for an unknown name the nearest one.
fn told(error: &toml::de::Error) -> String {
    let text = error.to_string();
    let near = || {
        let (_, names) = error.message().split_once("unknown field `")?;
        let (unknown, expected) = names.split_once('`')?;
        let known = expected.split('`').skip(1).step_by(2);
        nearest(unknown, known)
    };
    match near() {
        Some(name) => format!("{}\ndid you mean `{name}`?", text.trim_end()),
        None => text.trim_end().to_owned(),
    }
}

/// Of these names the one that is most like what was written, if any is.
pub fn nearest<'a>(written: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let score = |name: &str| strsim::jaro_winkler(written, name);
    let best = known.map(|name| (score(name), name)).max_by(|a, b| a.0.total_cmp(&b.0));
    best.filter(|(score, _)| *score > 0.75).map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use std::iter;

    use super::*;
    use crate::config::scalar::Scalar;

    fn parse(text: &str) -> Result<File, Vec<String>> {
        of(text, "a.toml", iter::empty())
    }

    fn with(text: &str, variables: &[(&str, &str)]) -> Result<File, Vec<String>> {
        let variables = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        of(text, "a.toml", variables)
    }

    #[test]
    fn functions_are_read() {
        let file = parse(
            r#"
[functions]
cpu_share = 0.05

[[functions.choose]]
at = "libc.so.6:getaddrinfo"
name = "look-up"

[[functions.choose]]
at = "/usr/bin/shop:shop::checkout"
"#,
        )
        .expect("a good file");
        assert_eq!(file.functions.cpu_share, Some(Scalar("0.05".to_owned())));
        let choices = file.functions.choose.iter();
        let choices: Vec<_> = choices
            .map(|entry| (entry.at.as_str(), entry.name.as_deref()))
            .collect();
        assert_eq!(
            choices,
            [
                ("libc.so.6:getaddrinfo", Some("look-up")),
                ("/usr/bin/shop:shop::checkout", None)
            ]
        );
        assert_eq!(parse("").expect("an empty file"), File::default());
    }

    #[test]
    fn what_nobody_reads_is_a_mistake_and_the_nearest_name_is_told() {
        for (text, near) in [
            ("[function]", "functions"),
            ("[history]\nretension = \"1h\"", "retention"),
            ("[[functions.choose]]\nat = \"a:b\"\nnam = \"x\"", "name"),
            ("[[alerts.thresholds]]\nmetrik = \"x\"", "metric"),
            ("[[alerts.receivers]]\nurll = \"x\"", "url"),
        ] {
            let faults = parse(text).expect_err(text);
            assert!(faults[0].contains("unknown field"), "{faults:?}");
            assert!(faults[0].ends_with(&format!("did you mean `{near}`?")), "{faults:?}");
            assert!(faults[0].starts_with("a.toml: TOML parse error at line"), "{faults:?}");
        }
        assert!(parse("[[functions.choose]]\nname = \"x\"").is_err(), "at is missing");
        assert!(parse("[limits]\nring_bytes = []").is_err());
    }

    #[test]
    fn the_environment_wins_over_the_file() {
        let text = "[history]\nretention = \"1h\"\n[limits]\nmax_endpoints = 5";
        let file = with(
            text,
            &[
                ("PERF_AGENT_HISTORY_RETENTION", "48h"),
                ("PERF_AGENT_LIMITS_RING_BYTES", "16M"),
                ("PERF_AGENT_ALERTS_DEFAULTS", "false"),
                ("PERF_AGENT_OBSERVE_PORTS", "[80, 443]"),
                ("PERF_AGENT_BIN", "/elsewhere"),
                ("HOME", "/root"),
            ],
        )
        .expect("good values");
        assert_eq!(file.history.retention.as_deref(), Some("48h"));
        assert_eq!(file.limits.ring_bytes, Some(Scalar("16M".to_owned())));
        assert_eq!(file.limits.max_endpoints, Some(Scalar("5".to_owned())));
        assert_eq!(file.alerts.defaults, Some(false));
        assert_eq!(file.observe.ports, [Scalar("80".to_owned()), Scalar("443".to_owned())]);
        let faults = with("", &[("PERF_AGENT_ALERTS_DEFAULTS", "perhaps")]).expect_err("no truth value");
        assert!(
            faults[0].starts_with("PERF_AGENT_ALERTS_DEFAULTS=perhaps: "),
            "{faults:?}"
        );
    }

    /// The names that a section takes, as it tells them itself.
    fn names(section: &str) -> Vec<String> {
        let error = parse(&format!("{section}\n\"??\" = 1")).expect_err("no such name");
        let (_, expected) = error[0].split_once("expected ").expect("it tells which there are");
        expected.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    }

    #[test]
    fn every_key_is_in_the_default_file_and_it_is_right() {
        let file = parse(DEFAULT).expect("it is a good file");
        assert_ne!(file, File::default());
        let table: Table = toml::from_str(DEFAULT).expect("TOML");
        let sections = names("");
        assert_eq!(sections.iter().collect::<Vec<_>>().len(), table.len());
        for section in &sections {
            let there = table[section.as_str()].as_table().expect("a section");
            let keys = names(&format!("[{section}]"));
            for key in &keys {
                assert!(there.contains_key(key), "{section}.{key} is not in default.toml");
            }
            assert_eq!(keys.len(), there.len());
        }
        for list in [
            "functions.choose",
            "alerts.thresholds",
            "alerts.escalate",
            "alerts.receivers",
        ] {
            let documented: String = DEFAULT.lines().filter(|line| line.starts_with("# ")).collect();
            for key in names(&format!("[[{list}]]")) {
                let is_there = documented.contains(&format!("# {key} = "));
                assert!(is_there, "{list}: {key} is not in default.toml");
            }
        }
    }

    #[test]
    fn what_is_commented_out_is_right_as_well() {
        let lists = ["choose = []", "thresholds = []", "escalate = []", "receivers = []"];
        let lines = DEFAULT.lines().filter(|line| !lists.contains(line)).map(|line| {
            let written = line.strip_prefix("# ");
            let written = written.filter(|rest| rest.starts_with("[[") || rest.contains(" = "));
            written.unwrap_or(line)
        });
        let uncommented = lines.collect::<Vec<_>>().join("\n");
        // The lists stand where their section goes on behind them.
        let file = parse(&uncommented.replace("[[alerts.escalate]]", "\n[[alerts.escalate]]"));
        let file = file.unwrap_or_else(|faults| panic!("{}", faults.join("\n")));
        assert_eq!((file.alerts.thresholds.len(), file.alerts.receivers.len()), (1, 5));
        assert_eq!((file.functions.choose.len(), file.alerts.escalate.len()), (1, 1));
    }
}
