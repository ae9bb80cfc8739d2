//! Event streams that end when their Redis stream is gone (`?until=gone`), so that browsers do not come back for ever.
//!
//! Once the Redis stream is gone, the event streams of its listeners end, and a client that comes back by the id of an entry
//! is answered that the stream is over. A client that has seen no entry waits for the Redis stream to begin. Until it is
//! known whether the Redis stream is there, a client is not answered, but for no longer than any other waits for the
//! upstream.

use super::actor::Actor;
use super::delivery::OVERFLOW;
use super::entries::{EntryId, Loss, Reason, encode};
use super::event::{self, Encoded};
use super::fanout::Order;
use super::own_ids::Begin;
use super::{Refused, SubscriberId, Topic};

impl Actor {
    /// A new subscriber listens to its Redis stream until that is gone: it has to be known whether it is.
    pub(super) fn until_gone(&mut self, topic: &Topic, id: SubscriberId) {
        if let Some(channel) = self.channels.get_mut(topic) {
            channel.until_gone += 1;
            if channel.until_gone == 1 {
                self.tails.until_gone(topic.name(), true);
            }
            self.tails.check(topic.name(), channel.key, id);
        }
    }

    /// One of those has left.
    pub(super) fn no_more_until_gone(&mut self, topic: &Topic) {
        if let Some(channel) = self.channels.get_mut(topic) {
            channel.until_gone -= 1;
            if channel.until_gone == 0 {
                self.tails.until_gone(topic.name(), false);
            }
        }
    }

    /// A subscriber's Redis stream has been looked at.
    pub(super) fn checked(&mut self, id: SubscriberId, is_gone: bool) {
        let Some(listener) = self.subscribers.get_mut(&id) else {
            return;
        };
        let Some(own) = &mut listener.own else {
            return;
        };
        own.awaits_check = false;
        let has_seen = matches!(own.begin, Begin::Seen(seen) if seen > EntryId::ZERO);
        if is_gone && has_seen {
            self.over(id, Vec::new());
        } else if !listener.open && listener.missing == 0 {
            self.open(id);
        }
    }

    /// A Redis stream was there, and is gone.
    pub(super) fn gone(&mut self, topic: &Topic) {
        let Some(channel) = self.channels.get(topic) else {
            return;
        };
        for id in channel.listeners.clone() {
            let listener = self.subscribers.get(&id);
            // For each of those who have not been answered there is a look of its own.
            let ends = listener.is_some_and(|listener| {
                listener.open && listener.own.as_ref().is_some_and(|own| own.until_gone)
            });
            if ends {
                self.over(id, Vec::new());
            }
        }
    }

    /// Ends a stream whose Redis stream is gone, behind these events and whatever else has been read for it.
    pub(super) fn over(&mut self, id: SubscriberId, mut events: Vec<Encoded>) {
        let Some(listener) = self.subscribers.get_mut(&id) else {
            return;
        };
        let (Some(own), Some(topic)) = (&mut listener.own, listener.topics.first()) else {
            return;
        };
        if !std::mem::replace(&mut listener.open, true)
            && let Some(refuse) = listener.refuse.take()
        {
            self.fanout.order(Order::Refuse(id, refuse(Refused::Over)));
            return;
        }
        let caught_up = own.catching_up.take().is_none();
        let (covered, topic) = (own.covered, topic.clone());
        if !caught_up && let Some(channel) = self.channels.get_mut(&topic) {
            let end = channel.end();
            let (replay, room) = (&mut channel.replay, self.subscriber_buffer / 2);
            let is_at_hand = replay.entry_floor() <= covered;
            let rest = is_at_hand.then(|| self.memory.rest(replay, covered, room));
            match rest.flatten() {
                Some(rest) => events.extend(rest),
                // Not an id of nothing: by that it would come back to wait for a beginning.
                None if covered < end => {
                    let loss = Loss::new(Reason::NotKept, end);
                    events.push(encode::gap(&loss, loss.reason.text(), topic.name()));
                }
                None => {}
            }
        } else if self.lossy.contains(&topic) {
            events.push(self.gap_at_end(&topic, OVERFLOW));
        }
        events.push(event::farewell("this stream is over: its key is gone"));
        self.fanout.order(Order::End(id, events));
        self.drop_surplus();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::entries::{Entry, What};
    use crate::hub::event::Format;
    use crate::hub::harness::Hub;
    use crate::hub::own_ids::Span;

    #[tokio::test]
    async fn who_has_been_answered_nothing_is_not_ended_for_what_went_before() {
        let mut hub = Hub::start().await;
        let span = Span {
            begin: Begin::Now,
            until_gone: true,
        };
        let mut stream = hub.listen(Format::Entry, Some(span));
        let subscriber = *hub.actor.subscribers.keys().next().expect("it listens");
        hub.news(What::Begins(EntryId::ZERO));
        hub.news(What::Gone(None));
        hub.news(What::Checked(subscriber, true));
        let id = EntryId::parse(b"1-0").expect("an id");
        let fields = "{}".into();
        hub.news(What::Entries(vec![Entry { id, fields }]));
        assert_eq!(stream.event(), ("1-0".into(), "message".into()));
    }
}
