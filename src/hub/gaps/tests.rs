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

#[tokio::test]
async fn who_is_sent_a_message_is_told_of_the_gap_before_it() {
    let (mut hub, topics) = (Hub::start().await, channels());
    let mut both = hub.listen_to(&topics, None);
    topics.iter().for_each(|topic| hub.confirm(topic));
    hub.message(&topics[0]);
    let (last, _) = both.event();
    hub.actor.lost(&Home::Common);
    hub.confirm(&topics[0]);
    hub.message(&topics[0]);
    assert_eq!(both.event().1, "gap");
    assert_eq!(both.data, r#"{"reason":"interrupted","channels":["a"]}"#);
    assert_eq!(both.event().1, "message");
    hub.confirm(&topics[1]);
    assert_eq!(both.event().1, "gap");
    assert_eq!(both.data, r#"{"reason":"interrupted","channels":["b"]}"#);
    // Whom that did not reach is told when it comes back, once.
    let mut back = hub.listen_to(&topics, Some(last));
    assert_eq!(back.event().1, "gap");
    assert_eq!(back.event().1, "message");
    assert_eq!(back.event().1, "gap");
    hub.message(&topics[0]);
    assert_eq!(back.event().1, "message");
}

#[tokio::test]
async fn who_comes_with_an_unknown_id_keeps_it_until_it_is_told() {
    let (mut hub, topics) = (Hub::start().await, channels());
    let mut both = hub.listen_to(&topics, Some("of-another".to_owned()));
    hub.confirm(&topics[0]);
    // The other one does not stand in time.
    let id = hub.newest();
    hub.actor.open(id);
    hub.message(&topics[0]);
    let (told, name) = both.event();
    assert_eq!((name.as_str(), both.ids), ("gap", 1));
    assert!(both.data.contains(r#""channels":["a"]"#), "{}", both.data);
    assert_ne!(told, both.event().0);
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

#[tokio::test]
async fn who_has_been_told_is_not_told_again_when_another_leaves() {
    let (mut hub, topics) = (Hub::start().await, channels());
    let _both = hub.listen_to(&topics, None);
    let leaves = hub.newest();
    let mut one = hub.listen_to(&topics[..1], None);
    topics.iter().for_each(|topic| hub.confirm(topic));
    hub.actor.lost(&Home::Common);
    // The other one never stands again.
    hub.confirm(&topics[0]);
    hub.message(&topics[0]);
    assert_eq!(one.event().1, "gap");
    let (last, name) = one.event();
    assert_eq!(name, "message");
    hub.actor.stop_listening(leaves);
    let mut back = hub.listen_to(&topics[..1], Some(last));
    hub.message(&topics[0]);
    assert_eq!(back.event().1, "message");
}
