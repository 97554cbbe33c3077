//! How many connections the API takes at once, so that clients cannot make the agent hold any number of buffers and
//! descriptors.

use std::future::{Ready, ready};
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum_server::accept::Accept;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower::Service;

/// Accepts connections while there are places, and closes those beyond at once.
#[derive(Clone, Debug)]
pub(super) struct Places(Arc<Semaphore>);

impl Places {
    /// So many places.
    pub(super) fn new(places: usize) -> Self {
        Self(Arc::new(Semaphore::new(places)))
    }
}

impl<I, S> Accept<I, S> for Places {
    type Stream = I;
    type Service = Placed<S>;
    type Future = Ready<io::Result<(I, Placed<S>)>>;

    fn accept(&self, stream: I, service: S) -> Self::Future {
        ready(match Arc::clone(&self.0).try_acquire_owned() {
            Ok(place) => {
                let place = Arc::new(place);
                Ok((stream, Placed { service, _place: place }))
            }
            Err(_) => Err(io::Error::other(
                "all connections that the API takes at once are in use",
            )),
        })
    }
}

/// A connection's service, which keeps its place.
#[derive(Clone, Debug)]
pub(super) struct Placed<S> {
    service: S,
    _place: Arc<OwnedSemaphorePermit>,
}

impl<S: Service<R>, R> Service<R> for Placed<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, request: R) -> S::Future {
        self.service.call(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_free_again_when_its_connection_ended() {
        let places = Places::new(1);
        let accept = || places.accept((), ()).into_inner();
        let first = accept().expect("a place is free");
        assert!(accept().is_err());
        drop(first);
        assert!(accept().is_ok());
    }
}
