//! Why something was not delivered, and what is wrong with a receiver's settings. Neither ever says a secret.

use std::time::Duration;

use thiserror::Error;

/// A receiver's setting that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{field}: {problem}")]
pub struct Fault {
    /// The setting's name.
    pub field: String,
    /// What is wrong with it. Never the value of a setting that may be a secret.
    pub problem: String,
}

impl Fault {
    pub(crate) fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            problem: problem.into(),
        }
    }
}

/// One attempt that did not succeed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{text}")]
pub struct Failure {
    /// What happened, in words.
    pub text: String,
    /// Whether the receiver refused for good: another attempt would end the same way.
    pub permanent: bool,
    /// How long the receiver asks to be left alone.
    pub retry_after: Option<Duration>,
}

impl Failure {
    /// Longest text of a failure, bytes.
    const TEXT_BYTES: usize = 512;

    /// Worth another attempt.
    pub(crate) fn temporary(text: impl Into<String>) -> Self {
        Self {
            text: super::text::line(&text.into(), Self::TEXT_BYTES),
            permanent: false,
            retry_after: None,
        }
    }

    /// Not worth another attempt.
    pub(crate) fn permanent(text: impl Into<String>) -> Self {
        Self {
            permanent: true,
            ..Self::temporary(text)
        }
    }
}

/// An error with all its causes, each said once.
pub(crate) fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    // Deeper chains than this are not made.
    for _ in 0..16 {
        let Some(error) = cause else { break };
        let said = error.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = error.source();
    }
    text
}
