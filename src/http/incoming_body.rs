//! A request whose body is on its way, and the memory that it takes.

use bytes::BytesMut;

use super::body::BodyReader;
use super::budget::{Budget, SMALL};
use super::head::{Framing, Limits};
use super::outbox::no_memory;
use super::problem::Problem;
use super::request::Request;

pub(super) struct IncomingBody {
    pub(super) request: Request,
    pub(super) keep_alive: bool,
    reader: BodyReader,
}

impl IncomingBody {
    pub(super) fn new(request: Request, framing: Framing, keep_alive: bool) -> Self {
        Self {
            request,
            keep_alive,
            reader: BodyReader::new(framing),
        }
    }

    /// How much is to be received before there is any use in reading.
    pub(super) fn wanted(&self) -> usize {
        self.reader.wanted()
    }

    /// Takes what has been received of the body; true when the request has all of it.
    ///
    /// # Errors
    /// When the body is malformed or too long, or there is no memory for it.
    pub(super) fn read(
        &mut self,
        received: &mut BytesMut,
        limits: Limits,
        budget: &Budget,
    ) -> Result<bool, Problem> {
        let body = self.reader.read(received, limits.body)?;
        // What has arrived counts, not what was announced.
        let size = match &body {
            Some(body) => body.len(),
            None => self.reader.held() + received.len(),
        };
        if size > SMALL && !budget.cover(&mut self.request.reservation, size, limits.body) {
            return Err(no_memory());
        }
        let whole = body.is_some();
        let body = body.unwrap_or_default();
        self.request.body = match &self.request.reservation {
            // A command that is given up may still be on its way to Redis.
            Some(reservation) if whole => reservation.covers(body),
            _ => body,
        };
        Ok(whole)
    }
}
