//! Somebody reads up on a stream while others are told of it.

use std::io::Read as _;

use tokio::sync::oneshot;

use super::*;
use crate::hub::SubscriberId;
use crate::hub::harness::{Client, Hub};
use crate::reply::ServerError;

fn id(n: u64) -> EntryId {
    EntryId::parse(n.to_string().as_bytes()).expect("an id")
}

fn entries(numbers: std::ops::RangeInclusive<u64>) -> Vec<Entry> {
    let entry = |n| Entry {
        id: id(n),
        fields: "{}".into(),
    };
    numbers.map(entry).collect()
}

/// A stream that is read from behind 10 on, and somebody who has seen 3.
async fn catching_up() -> (Hub, Client, SubscriberId) {
    let mut hub = Hub::start().await;
    let span = Span {
        begin: Begin::Seen(id(3)),
        until_gone: false,
    };
    let stream = hub.listen(Format::Entry, Some(span));
    hub.news(What::Begins(id(10)));
    let subscriber = *hub.actor.subscribers.keys().next().expect("a subscriber");
    assert!(is_catching_up(&hub, subscriber));
    (hub, stream, subscriber)
}

fn is_catching_up(hub: &Hub, subscriber: SubscriberId) -> bool {
    let own = hub.actor.subscribers[&subscriber].own.as_ref();
    own.is_some_and(|own| own.catching_up.is_some())
}

fn page(subscriber: SubscriberId, numbers: std::ops::RangeInclusive<u64>) -> Page {
    Page {
        subscriber,
        covered: id(*numbers.end()),
        entries: entries(numbers),
        loss: None,
        gone_out: oneshot::channel().0,
        refused: None,
        is_gone: false,
    }
}

#[tokio::test]
async fn who_reads_up_on_a_stream_finds_out_himself_what_is_gone() {
    let (mut hub, mut stream, subscriber) = catching_up().await;
    hub.news(What::Entries(entries(11..=12)));
    hub.news(What::Lost(Loss::new(Reason::NotKept, id(12))));
    hub.news(What::Entries(entries(14..=14)));
    hub.actor.take_page(page(subscriber, 4..=14));
    hub.news(What::Entries(entries(15..=15)));
    // By the id of a gap that stood behind 14 he would be sent that once more.
    for n in 4..=15 {
        assert_eq!(stream.event(), (format!("{n}-0"), "message".into()));
    }
    assert!(!is_catching_up(&hub, subscriber));
}

#[tokio::test]
async fn who_reads_up_on_a_stream_is_told_what_was_gone_before_that() {
    let (mut hub, mut stream, subscriber) = catching_up().await;
    hub.actor.take_page(page(subscriber, 4..=8));
    let loss = Loss {
        since: id(2),
        ..Loss::new(Reason::NotKept, id(10))
    };
    hub.news(What::Lost(loss));
    hub.actor.take_page(page(subscriber, 9..=10));
    for n in 4..=8 {
        assert_eq!(stream.event(), (format!("{n}-0"), "message".into()));
    }
    assert_eq!(stream.event(), ("8-0".into(), "gap".into()));
    assert_eq!(stream.event(), ("9-0".into(), "message".into()));
    // By the id of what he has seen, where nothing has been read for him yet.
    let (mut hub, mut stream, _) = catching_up().await;
    hub.news(What::Lost(loss));
    assert_eq!(stream.event(), ("3-0".into(), "gap".into()));
}

#[tokio::test]
async fn who_reads_up_on_what_is_refused_by_then_is_told_so() {
    let (mut hub, mut stream, subscriber) = catching_up().await;
    hub.actor.take_page(Page {
        refused: Some(ServerError::new("NOPERM", "no")),
        ..page(subscriber, 4..=8)
    });
    let mut rest = String::new();
    stream.reader.read_to_string(&mut rest).expect("it ends");
    assert!(rest.contains("refused") && !rest.contains("4-0"), "{rest}");
}

#[tokio::test]
async fn who_reads_up_on_a_stream_that_is_begun_anew_goes_on_there() {
    let (mut hub, mut stream, subscriber) = catching_up().await;
    hub.news(What::Elsewhere(Loss::new(Reason::Recreated, id(0))));
    hub.news(What::Entries(entries(1..=12)));
    // This was read before.
    hub.actor.take_page(page(subscriber, 4..=10));
    hub.news(What::Entries(entries(13..=13)));
    assert_eq!(stream.event(), ("0-0".into(), "gap".into()));
    for n in 1..=13 {
        assert_eq!(stream.event(), (format!("{n}-0"), "message".into()));
    }
    assert!(!is_catching_up(&hub, subscriber));
}

#[tokio::test]
async fn who_left_before_a_loss_was_found_is_told_of_it_when_he_comes_back() {
    let mut hub = Hub::start().await;
    let _other = hub.listen(Format::Entry, None);
    hub.news(What::Begins(id(10)));
    hub.news(What::Entries(entries(11..=14)));
    let loss = Loss {
        since: id(11),
        ..Loss::new(Reason::NotKept, id(14))
    };
    hub.news(What::Lost(loss));
    let back = |hub: &mut Hub, seen| {
        let span = Span {
            begin: Begin::Seen(id(seen)),
            until_gone: false,
        };
        hub.listen(Format::Entry, Some(span))
    };
    let [mut sure, mut untold, mut told] = [11, 12, 14].map(|seen| back(&mut hub, seen));
    assert_eq!(untold.event(), ("12-0".into(), "gap".into()));
    hub.news(What::Entries(entries(15..=15)));
    assert_eq!(told.event(), ("15-0".into(), "message".into()));
    // The first one finds out himself whether there is anything behind what he has seen.
    let first = *hub.actor.subscribers.keys().min().expect("one");
    hub.actor.take_page(page(first + 1, 12..=15));
    assert_eq!(sure.event(), ("12-0".into(), "message".into()));
}

#[tokio::test]
async fn who_left_behind_the_last_entry_is_told_of_every_loss_that_was_found_since() {
    let mut hub = Hub::start().await;
    let _other = hub.listen(Format::Entry, None);
    hub.news(What::Begins(id(10)));
    let loss = |since, up_to| Loss {
        since: id(since),
        ..Loss::new(Reason::NotKept, id(up_to))
    };
    let back = |hub: &mut Hub| {
        let span = Span {
            begin: Begin::Seen(id(12)),
            until_gone: false,
        };
        hub.listen(Format::Entry, Some(span))
    };
    hub.news(What::Entries(entries(12..=12)));
    let _stream = back(&mut hub);
    let newest = *hub.actor.subscribers.keys().max().expect("it listens");
    hub.actor.stop_listening(newest);
    hub.news(What::Lost(loss(10, 12)));
    assert_eq!(back(&mut hub).event(), ("12-0".into(), "gap".into()));
    hub.news(What::Entries(entries(14..=14)));
    hub.news(What::Lost(loss(12, 14)));
    assert_eq!(back(&mut hub).event(), ("12-0".into(), "gap".into()));
}

#[tokio::test]
async fn who_came_back_by_an_entry_and_leaves_is_no_loss_to_others() {
    let mut hub = Hub::start().await;
    let topic = hub.topic.clone();
    let mut several = hub.listen_to(std::slice::from_ref(&topic), None);
    hub.news(What::Begins(id(10)));
    hub.news(What::Entries(entries(11..=11)));
    let (last, _) = several.event();
    let span = Span {
        begin: Begin::Seen(id(11)),
        until_gone: false,
    };
    let _own = hub.listen(Format::Entry, Some(span));
    let newest = *hub.actor.subscribers.keys().max().expect("it listens");
    hub.actor.stop_listening(newest);
    let mut back = hub.listen_to(&[topic], Some(last));
    hub.news(What::Entries(entries(12..=12)));
    assert_eq!(back.event().1, "message");
}

#[tokio::test]
async fn what_comes_of_a_time_when_somebody_else_listened_is_passed_over() {
    let mut hub = Hub::start().await;
    let mut stream = hub.listen(Format::Entry, None);
    hub.news(What::Begins(id(10)));
    let of_another = News {
        key: hub.topic.name().clone(),
        channel: hub.actor.channels[&hub.topic].key + 1,
        what: What::Entries(entries(11..=12)),
    };
    hub.actor.on_news(of_another);
    hub.news(What::Entries(entries(12..=12)));
    assert_eq!(stream.event(), ("12-0".into(), "message".into()));
}

#[tokio::test]
async fn who_comes_back_by_an_event_is_told_of_what_was_not_read_meanwhile() {
    let mut hub = Hub::start().await;
    let topics = [hub.topic.clone()];
    let mut stream = hub.listen_to(&topics, None);
    hub.news(What::Begins(id(10)));
    hub.news(What::Entries(entries(11..=11)));
    let (last, _) = stream.event();
    let newest = *hub.actor.subscribers.keys().max().expect("it listens");
    hub.actor.stop_listening(newest);
    hub.actor.leave_stream(&topics[0]);
    let mut back = hub.listen_to(&topics, Some(last));
    hub.news(What::Begins(id(12)));
    assert_eq!(back.event().1, "gap");
    // And of what was gone before it was read.
    hub.news(What::Entries(entries(13..=13)));
    let (last, name) = back.event();
    assert_eq!(name, "message");
    hub.news(What::Lost(Loss::new(Reason::NotKept, id(14))));
    let mut again = hub.listen_to(&topics, Some(last));
    hub.news(What::Entries(entries(15..=15)));
    assert_eq!(again.event().1, "gap");
    assert_eq!(again.event().1, "message");
}

#[tokio::test]
async fn what_was_lost_of_a_stream_is_nothing_to_the_one_that_is_begun_anew() {
    let mut hub = Hub::start().await;
    let _other = hub.listen(Format::Entry, None);
    hub.news(What::Begins(id(10)));
    let loss = Loss {
        since: id(10),
        ..Loss::new(Reason::NotKept, id(14))
    };
    hub.news(What::Lost(loss));
    // Who has been told of it misses nothing.
    let span = |seen| Span {
        begin: Begin::Seen(id(seen)),
        until_gone: false,
    };
    let _told = hub.listen(Format::Entry, Some(span(14)));
    let newest = *hub.actor.subscribers.keys().max().expect("it listens");
    assert!(!is_catching_up(&hub, newest));
    hub.news(What::Elsewhere(Loss::new(Reason::Recreated, id(0))));
    assert_eq!(hub.actor.channels[&hub.topic].end(), id(0));
    hub.news(What::Entries(entries(1..=13)));
    let mut back = hub.listen(Format::Entry, Some(span(12)));
    assert_eq!(back.event(), ("13-0".into(), "message".into()));
}
