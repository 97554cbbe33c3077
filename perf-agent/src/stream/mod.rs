//! Connections as two ordered byte streams.
