//! What a path segment looks like.
