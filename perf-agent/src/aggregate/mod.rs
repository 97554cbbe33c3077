//! Counts and histograms per endpoint.
