//! Streams that end, or whose connection breaks, between an interruption and the word of it.

use bytes::Bytes;

use crate::hub::harness::Hub;
use crate::hub::roster::State;
use crate::hub::source::Home;
use crate::hub::{SubscriberId, Topic};

impl Hub {
    /// The upstream confirms a channel.
    fn confirm(&mut self, topic: &Topic) {
        let channel = self
            .actor
            .channels
            .get_mut(topic)
            .expect("it is listened to");
        channel.state = State::Subscribing;
        channel.home = Some(Home::Common);
        self.actor.confirmed(topic);
    }

    fn message(&mut self, topic: &Topic) {
        let payload = Bytes::from_static(b"hello");
        self.actor
            .hand_on(topic.clone(), topic.name().clone(), payload, None);
    }

    fn newest(&self) -> SubscriberId {
        *self.actor.subscribers.keys().max().expect("a subscriber")
    }
}

fn channels() -> [Topic; 2] {
    [Topic::Channel("a".into()), Topic::Channel("b".into())]
}

/// Of two channels, the first one stands again after an interruption, and the id of its first message.
async fn half_interrupted() -> (Hub, String) {
    let (mut hub, topics) = (Hub::start().await, channels());
    let mut stream = hub.listen_to(&topics, None);
    topics.iter().for_each(|topic| hub.confirm(topic));
    hub.message(&topics[0]);
    assert_eq!(stream.event().1, "message");
    hub.actor.lost(&Home::Common);
    hub.confirm(&topics[0]);
    hub.message(&topics[0]);
    let (last, name) = stream.event();
    assert_eq!(name, "message");
    (hub, last)
}

#[tokio::test]
async fn who_leaves_before_it_is_told_is_told_when_it_comes_back() {
    let (mut hub, last) = half_interrupted().await;
    let id = hub.newest();
    hub.actor.stop_listening(id);
    let [topic, _] = channels();
    let mut back = hub.listen_to(std::slice::from_ref(&topic), Some(last));
    hub.message(&topic);
    assert_eq!(back.event().1, "gap");
    assert_eq!(back.event().1, "message");
}

#[tokio::test]
async fn whom_the_word_does_not_reach_is_told_when_it_comes_back() {
    let (mut hub, last) = half_interrupted().await;
    let [topic, other] = channels();
    // It is told here, and is away already.
    hub.confirm(&other);
    let mut back = hub.listen_to(std::slice::from_ref(&topic), Some(last));
    hub.message(&topic);
    assert_eq!(back.event().1, "gap");
    let (last, name) = back.event();
    assert_eq!(name, "message");
    // Once is enough.
    let mut again = hub.listen_to(std::slice::from_ref(&topic), Some(last));
    hub.message(&topic);
    assert_eq!(again.event().1, "message");
}

#[tokio::test]
async fn a_gap_names_what_was_interrupted_and_nothing_else() {
    let mut hub = Hub::start().await;
    let (channel, stream) = (Topic::Channel("a".into()), hub.topic.clone());
    let mut both = hub.listen_to(&[channel.clone(), stream], None);
    hub.confirm(&channel);
    hub.begins();
    hub.actor.lost(&Home::Common);
    hub.confirm(&channel);
    assert_eq!(both.event().1, "gap");
    assert_eq!(both.data, r#"{"reason":"interrupted","channels":["a"]}"#);
}

#[tokio::test]
async fn each_interruption_is_told_before_what_came_behind_it() {
    let (mut hub, [topic, _]) = (Hub::start().await, channels());
    let topics = std::slice::from_ref(&topic);
    let mut stays = hub.listen_to(topics, None);
    hub.confirm(&topic);
    hub.message(&topic);
    let (last, _) = stays.event();
    for _ in 0..2 {
        hub.actor.lost(&Home::Common);
        hub.confirm(&topic);
        hub.message(&topic);
    }
    let mut back = hub.listen_to(topics, Some(last));
    let came: Vec<_> = (0..4).map(|_| back.event().1).collect();
    assert_eq!(came, ["gap", "message", "gap", "message"]);
}

#[tokio::test]
async fn who_waits_for_the_same_topic_is_told_of_all_that_others_are() {
    let (mut hub, last) = half_interrupted().await;
    let topics = channels();
    let mut back = hub.listen_to(&topics, Some(last));
    hub.confirm(&topics[1]);
    assert_eq!(back.event().1, "gap");
    let both = r#"{"reason":"not-kept","channels":["a","b"]}"#;
    assert_eq!(back.data, both);
}

#[tokio::test]
async fn who_has_not_begun_has_missed_nothing() {
    let mut hub = Hub::start().await;
    let [topic, _] = channels();
    let mut stream = hub.listen_to(std::slice::from_ref(&topic), None);
    let known = hub.actor.channels.get_mut(&topic);
    known.expect("it is listened to").home = Some(Home::Common);
    hub.actor.lost(&Home::Common);
    hub.confirm(&topic);
    hub.message(&topic);
    assert_eq!(stream.event().1, "message");
}
