//! Routes: paths with their variable parts replaced.

/// The operator's patterns are wrong.
#[derive(Debug, thiserror::Error)]
pub enum RouteError {
    /// It is no pattern.
    #[error("route pattern {pattern:?}: {reason}")]
    Pattern {
        /// As given.
        pattern: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// The operator's patterns and what was learnt of each service's paths.
#[derive(Debug)]
pub struct Routes {}
