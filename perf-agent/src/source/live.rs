//! The running kernel as a source, if this binary was built for it.

use super::{Diagnosis, Source, SourceError};
use crate::config::CaptureSettings;

/// Loads the kernel programs and begins to observe.
///
/// # Errors
/// [`SourceError`] with what is missing and what would help.
#[cfg(feature = "kernel")]
pub fn start(settings: &CaptureSettings) -> Result<Box<dyn Source>, SourceError> {
    Ok(Box::new(super::kernel::KernelSource::start(settings)?))
}

/// What would be observed, and how, with these settings.
///
/// # Errors
/// [`SourceError`] if a filter means nothing, or a backend cannot be tried for a reason of its own.
#[cfg(feature = "kernel")]
pub fn diagnose(settings: &CaptureSettings) -> Result<Diagnosis, SourceError> {
    crate::probe::doctor::doctor(settings)
}

/// Always refuses: this binary can only replay.
///
/// # Errors
/// [`SourceError::NotBuilt`]
#[cfg(not(feature = "kernel"))]
pub fn start(_settings: &CaptureSettings) -> Result<Box<dyn Source>, SourceError> {
    Err(SourceError::NotBuilt)
}

/// Always refuses: this binary can only replay.
///
/// # Errors
/// [`SourceError::NotBuilt`]
#[cfg(not(feature = "kernel"))]
pub fn diagnose(_settings: &CaptureSettings) -> Result<Diagnosis, SourceError> {
    Err(SourceError::NotBuilt)
}
