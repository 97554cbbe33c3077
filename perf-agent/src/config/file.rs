//! The configuration file (`--config FILE`): TOML, in sections. What nobody reads is a mistake and not passed over.
//!
//! What was typed wins over what the file says; lists of both add up.

use std::fs;
use std::path::Path;

use serde::Deserialize;

/// Larger than anybody writes.
const MOST_BYTES: u64 = 1 << 20;

/// The file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// Functions that are observed besides.
    #[serde(default)]
    pub functions: FunctionsSection,
}

/// `[functions]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FunctionsSection {
    /// What observing one function may cost, in parts of a core: `--function-cpu-share`.
    pub cpu_share: Option<f64>,
    /// `[[functions.choose]]`
    #[serde(default)]
    pub choose: Vec<FunctionEntry>,
}

/// One choice: `--function`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FunctionEntry {
    /// `FILE:SYMBOL` or `usdt:FILE:PROVIDER:PROBE`.
    pub at: String,
    /// What it is to be called.
    pub name: Option<String>,
}

/// Reads it.
///
/// # Errors
/// What is wrong, with the place in the file.
pub fn read(path: &Path) -> Result<File, String> {
    let fault = |reason: &dyn std::fmt::Display| format!("--config {}: {reason}", path.display());
    let length = fs::metadata(path).map_err(|error| fault(&error))?.len();
    if length > MOST_BYTES {
        return Err(fault(&"too large to be a configuration"));
    }
    let text = fs::read_to_string(path).map_err(|error| fault(&error))?;
    parse(&text).map_err(|error| fault(&error))
}

fn parse(text: &str) -> Result<File, toml::de::Error> {
    toml::from_str(text)
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(file.functions.cpu_share, Some(0.05));
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
        assert!(parse("").expect("an empty file").functions.choose.is_empty());
    }

    #[test]
    fn what_nobody_reads_is_a_mistake() {
        for text in [
            "[function]",
            "[functions]\nshare = 1",
            "[[functions.choose]]\nat = \"a:b\"\nnam = \"x\"",
        ] {
            let error = parse(text).expect_err(text).to_string();
            assert!(error.contains("unknown field"), "{error}");
        }
        assert!(parse("[[functions.choose]]\nname = \"x\"").is_err(), "at is missing");
    }
}
