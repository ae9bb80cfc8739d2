//! What is kept, and what is known of what no longer is.

use super::*;
use crate::hub::entries::{Entry, Loss, Reason, What};
use crate::hub::harness::Hub;
use crate::hub::roster::State;
use crate::hub::source::Home;

fn memory(events: usize, bytes: usize, memory: usize) -> Memory {
    Memory::new(Bounds {
        events,
        bytes,
        age: Duration::from_secs(60),
        memory,
    })
}

fn message(sequence: u64, size: usize) -> Kept {
    Kept::new(sequence, Bytes::new(), vec![b'x'; size].into())
}

fn numbers(replay: &Replay, after: u64) -> Vec<u64> {
    replay.after(after).map(|kept| kept.sequence).collect()
}

#[test]
fn what_is_dropped_raises_the_floor() {
    let topic = Topic::Channel("a".into());
    let mut memory = memory(3, 1 << 20, 1 << 20);
    let mut replay = Replay::default();
    replay.begins_at(10);
    for sequence in 11..=15 {
        memory.keep(&topic, &mut replay, message(sequence, 1));
    }
    assert_eq!(replay.floor, 12);
    assert_eq!(numbers(&replay, 13), [14, 15]);
    assert_eq!(numbers(&replay, 0), [13, 14, 15]);
}

fn id(n: u64) -> EntryId {
    EntryId::parse(n.to_string().as_bytes()).expect("an id")
}

#[test]
fn what_is_dropped_of_a_stream_raises_its_floor() {
    let topic = Topic::Stream("s".into());
    let mut memory = memory(3, 1 << 20, 1 << 20);
    let mut replay = Replay::default();
    replay.begins_behind(10, id(100));
    for n in 1..=5 {
        let entry = message(10 + n, 10).of_entry(id(100 + n));
        memory.keep(&topic, &mut replay, entry);
    }
    assert_eq!((replay.floor, replay.entry_floor()), (12, id(102)));
    let behind = replay.after_entry(id(103)).map(|(id, _)| id);
    assert_eq!(behind.collect::<Vec<_>>(), [id(104), id(105)]);
    let kept = (100..=106).filter(|n| replay.has_entry(id(*n)));
    assert_eq!(kept.collect::<Vec<_>>(), [103, 104, 105]);
    let mut rest = |room| memory.rest(&mut replay, id(103), room);
    assert_eq!(rest(20).map(|rest| rest.len()), Some(2));
    assert!(rest(19).is_none());
}

#[test]
fn what_is_too_old_is_dropped() {
    let topic = Topic::Channel("a".into());
    let mut memory = memory(3, 1 << 20, 1 << 20);
    memory.bounds.age = Duration::ZERO;
    let mut replay = Replay::default();
    memory.keep(&topic, &mut replay, message(1, 1));
    let kept_at = Instant::now();
    while kept_at.elapsed() == Duration::ZERO {}
    memory.forget_old(&mut replay);
    assert_eq!((replay.floor, memory.count), (1, 0));
}

#[test]
fn what_its_own_topic_has_dropped_is_not_dropped_for_another() {
    let (a, b) = (Topic::Channel("a".into()), Topic::Channel("b".into()));
    let mut memory = memory(3, 1 << 20, 4 * (1000 + OVERHEAD));
    let (mut of_a, mut of_b) = (Replay::default(), Replay::default());
    for sequence in [1, 3, 4, 5] {
        memory.keep(&a, &mut of_a, message(sequence, 1000));
        if sequence == 1 {
            memory.keep(&b, &mut of_b, message(2, 1000));
        }
    }
    memory.keep(&b, &mut of_b, message(6, 1000));
    while let Some((sequence, topic)) = memory.take_surplus() {
        let replay = if topic == a { &mut of_a } else { &mut of_b };
        memory.drop_message(replay, sequence);
    }
    assert_eq!(numbers(&of_a, 0), [3, 4, 5]);
    assert_eq!(numbers(&of_b, 0), [6]);
}

#[test]
fn an_event_is_there_once_for_each_shape_and_counts() {
    let topic = Topic::Channel("a".into());
    let mut memory = memory(2, 1 << 20, 1 << 20);
    let mut replay = Replay::default();
    memory.keep(&topic, &mut replay, message(1, 100));
    let before = memory.bytes;
    let mut event = |sequence, shape| {
        let encode = |kept: &Kept| Encoded::new(&kept.payload);
        memory.event(&mut replay, sequence, shape, encode)
    };
    let first = event(1, OWN).expect("it is kept").bytes(true);
    let again = event(1, OWN).expect("it is kept").bytes(true);
    assert_eq!(first.as_ptr(), again.as_ptr());
    let other = event(1, Shape::default()).expect("it is kept");
    assert_ne!(first.as_ptr(), other.bytes(true).as_ptr());
    assert!(event(2, OWN).is_none());
    assert_eq!(memory.bytes, before + 2 * (first.len() + OVERHEAD));
    for sequence in 2..=3 {
        memory.keep(&topic, &mut replay, message(sequence, 100));
    }
    assert_eq!(memory.bytes, 2 * before);
    let none = |_: &Kept| unreachable!("it is not kept any more");
    assert!(memory.event(&mut replay, 1, OWN, none).is_none());
    memory.forget(&replay);
    assert_eq!(memory.bytes, 0);
}

#[test]
fn what_has_been_dropped_does_not_pile_up() {
    let (quiet, busy) = (Topic::Channel("a".into()), Topic::Channel("b".into()));
    let mut memory = memory(2, 1 << 20, 1 << 20);
    let (mut of_quiet, mut of_busy) = (Replay::default(), Replay::default());
    memory.keep(&quiet, &mut of_quiet, message(1, 1));
    for sequence in 2..20_000 {
        memory.keep(&busy, &mut of_busy, message(sequence, 1));
        memory.forget_dropped(|sequence, topic| {
            let replay = if *topic == quiet { &of_quiet } else { &of_busy };
            replay.has(sequence)
        });
        assert!(memory.by_age.len() <= 2 * memory.count + MOST_STALE);
    }
    assert_eq!(memory.count, 3);
    assert_eq!(memory.by_age.front(), Some(&(1, quiet)));
    memory.forget(&of_quiet);
    memory.forget(&of_busy);
    assert_eq!((memory.count, memory.bytes), (0, 0));
}

#[test]
fn bytes_are_bounded_for_each_and_for_all() {
    let (a, b) = (Topic::Channel("a".into()), Topic::Channel("b".into()));
    let mut memory = memory(100, 3 * (1000 + OVERHEAD), 4 * (1000 + OVERHEAD));
    let (mut of_a, mut of_b) = (Replay::default(), Replay::default());
    for sequence in 1..=4 {
        memory.keep(&a, &mut of_a, message(sequence, 1000));
    }
    assert_eq!(numbers(&of_a, 0), [2, 3, 4]);
    for sequence in 5..=6 {
        memory.keep(&b, &mut of_b, message(sequence, 1000));
    }
    while let Some((sequence, topic)) = memory.take_surplus() {
        assert_eq!(topic, a);
        memory.drop_message(&mut of_a, sequence);
    }
    assert_eq!(numbers(&of_a, 0), [3, 4]);
    assert_eq!(of_a.floor, 2);
    memory.forget(&of_b);
    assert_eq!(memory.bytes, 2 * (1000 + OVERHEAD));
}

#[tokio::test]
async fn what_is_gone_is_not_counted() {
    let mut hub = Hub::start().await;
    let (stream, channel) = (hub.topic.clone(), Topic::Channel("a".into()));
    let entry = |n| Entry {
        id: id(n),
        fields: "{}".into(),
    };
    let _both = hub.listen_to(&[stream.clone(), channel.clone()], None);
    hub.begins();
    hub.news(What::Entries(vec![entry(1), entry(2)]));
    hub.news(What::Elsewhere(Loss::new(Reason::Recreated, id(0))));
    assert_eq!((hub.actor.memory.count, hub.actor.memory.bytes), (0, 0));
    hub.news(What::Entries(vec![entry(1)]));
    hub.actor.leave_stream(&stream);
    assert_eq!((hub.actor.memory.count, hub.actor.memory.bytes), (0, 0));
    // Nobody listens when its connection is lost.
    let subscriber = *hub.actor.subscribers.keys().next().expect("it listens");
    let known = hub.actor.channels.get_mut(&channel).expect("a channel");
    (known.state, known.home) = (State::Standing, Some(Home::Common));
    let name = channel.name().clone();
    hub.actor.hand_on(channel, name, "x".into(), None);
    hub.actor.stop_listening(subscriber);
    assert_eq!(hub.actor.memory.count, 1);
    hub.actor.lost(&Home::Common);
    assert_eq!((hub.actor.memory.count, hub.actor.memory.bytes), (0, 0));
}
