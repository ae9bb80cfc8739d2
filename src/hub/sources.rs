//! The subscriber connections to the upstream: one for all channels and patterns, and one to each server that has
//! sharded channels to which somebody listens.

use std::collections::HashMap;

use futures_util::future::select_all;

use super::Topic;
use super::source::{Happening, Home, Source};
use crate::config::Config;
use crate::upstream::{Shard, Upstream};

pub(super) struct Sources {
    upstream: Upstream,
    config: Config,
    common: Source,
    shards: HashMap<Shard, Source>,
}

impl Sources {
    pub(super) fn new(upstream: Upstream, config: &Config) -> Self {
        Self {
            common: Source::new(Home::Common, upstream.clone(), config),
            shards: HashMap::new(),
            config: config.clone(),
            upstream,
        }
    }

    /// Asks for a topic; says over which connection. `None` if there is none yet: one is on its way then.
    pub(super) fn subscribe(&mut self, topic: &Topic) -> Option<Home> {
        let (home, source) = match topic {
            Topic::Channel(_) | Topic::Pattern(_) => (Home::Common, &mut self.common),
            // Streams are read, and not subscribed to.
            Topic::Stream(_) => return None,
            Topic::Sharded(channel) => {
                let shard = self.upstream.shard_of(channel);
                let home = Home::Shard(shard.clone());
                let source = self.shards.entry(shard).or_insert_with(|| {
                    Source::new(home.clone(), self.upstream.clone(), &self.config)
                });
                (home, source)
            }
        };
        source.open();
        source.subscribe(topic).then_some(home)
    }

    /// Asks to be told no more of a topic. False if there is no connection to ask over.
    pub(super) fn unsubscribe(&mut self, topic: &Topic, home: Option<&Home>) -> bool {
        match home {
            None => false,
            Some(Home::Common) => self.common.unsubscribe(topic),
            Some(Home::Shard(shard)) => {
                let source = self.shards.get_mut(shard);
                source.is_some_and(|source| source.unsubscribe(topic))
            }
        }
    }

    /// Gives up the connections that none of these topics, which are all, has a use for.
    pub(super) fn close_unused<T>(&mut self, topics: &HashMap<Topic, T>) {
        let is_sharded = |topic: &Topic| matches!(topic, Topic::Sharded(_));
        let is_common = |topic: &Topic| matches!(topic, Topic::Channel(_) | Topic::Pattern(_));
        if self.common.is_open() && !topics.keys().any(is_common) {
            self.common.close();
        }
        if !self.shards.is_empty() && !topics.keys().any(is_sharded) {
            self.shards.clear();
        }
    }

    /// Gives up a connection that does not come about, if none of these topics waits for it: they may belong to
    /// another server by now.
    pub(super) fn give_up<T>(&mut self, home: &Home, topics: &HashMap<Topic, T>) {
        if let Home::Shard(shard) = home {
            let waits = |topic: &Topic| match topic {
                Topic::Sharded(channel) => self.upstream.shard_of(channel) == *shard,
                Topic::Channel(_) | Topic::Pattern(_) | Topic::Stream(_) => false,
            };
            if !topics.keys().any(waits) {
                self.shards.remove(shard);
            }
        }
    }

    /// Waits for the next thing to happen; for ever while there is no connection. Nothing is lost when the
    /// wait is given up.
    pub(super) async fn next(&mut self) -> Happening {
        let mut shards: Vec<_> = self.shards.values_mut().collect();
        if shards.is_empty() {
            return self.common.next().await;
        }
        // The first that has something is taken: none shall always be behind another.
        let first = fastrand::usize(..shards.len());
        shards.rotate_left(first);
        let sharded = select_all(shards.into_iter().map(|source| Box::pin(source.next())));
        tokio::select! {
            happening = self.common.next() => happening,
            (happening, ..) = sharded => happening,
        }
    }
}
