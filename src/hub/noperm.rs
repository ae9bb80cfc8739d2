//! Topics that the upstream does not let the gateway have, so that whoever listens to them cannot be served.
//!
//! Clients that have not been answered yet get a status, after which a browser does not try again. Streams that are open
//! end. A stream of several topics is refused as a whole: without one of them it would look complete.

use super::actor::Actor;
use super::event;
use super::fanout::Order;
use super::roster::State;
use super::{Refused, Topic};
use crate::reply::ServerError;

impl Actor {
    /// The upstream refused a subscription.
    pub(super) fn refused_channel(&mut self, topic: &Topic, error: &redis::RedisError) {
        tracing::warn!(%error, "the upstream refused a subscription");
        let detail = error.detail().unwrap_or_default();
        let error = error.code().map(|code| ServerError::new(code, detail));
        // Other errors may be over by the time that the client comes back.
        let error = error.filter(|error| matches!(error.code(), "ERR" | "NOPERM"));
        let farewell = "the upstream refused the subscription";
        self.refuse_topic(topic, error.as_ref(), farewell);
    }

    /// Tells the listeners of a topic of an error, if they have been answered nothing, and ends their streams.
    pub(super) fn refuse_topic(
        &mut self,
        topic: &Topic,
        error: Option<&ServerError>,
        farewell: &str,
    ) {
        let Some(channel) = self.channels.get_mut(topic) else {
            return;
        };
        channel.state = State::Down;
        if channel.listeners.is_empty() {
            return self.leave_channel(topic);
        }
        let farewell = event::farewell(farewell);
        for id in channel.listeners.clone() {
            let listener = self.subscribers.get_mut(&id);
            let refuse = listener.and_then(|listener| listener.refuse.take());
            self.fanout.order(match (refuse, error) {
                (Some(refuse), Some(error)) => {
                    let refused = Refused::Upstream(topic.clone(), error.clone());
                    Order::Refuse(id, refuse(refused))
                }
                _ => Order::End(id, vec![farewell.clone()]),
            });
            // At once, however long the client takes to go: if this topic stands again, that is for others.
            self.stop_listening(id);
        }
    }
}
