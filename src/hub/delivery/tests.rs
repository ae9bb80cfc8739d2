//! A fan-out that cannot keep up with the entries of a stream, listeners that are still there when they are refused, and a
//! fan-out that ends.

use std::io::BufRead as _;
use std::sync::mpsc::{Receiver, Sender, channel};

use super::*;
use crate::hub::entries::{Entry, Loss, Reason, What};
use crate::hub::fanout::Order;
use crate::hub::harness::{Hub, JSON, fan_out, nowhere};
use crate::hub::{Begin, Span, Stats, Subscription};
use crate::reply::ServerError;
use crate::upstream::Upstream;

/// An entry of this size is taken by the fan-out more than once, and not for ever.
const LARGE: usize = 5 << 20;

/// What is given back with the seat of a subscriber: that takes as long as the test wants, and holds the thread of
/// the fan-out up.
struct Slow {
    held: Sender<()>,
    go_on: Receiver<()>,
}

impl Drop for Slow {
    fn drop(&mut self) {
        // The test may be over, having failed.
        let _ = self.held.send(());
        let _ = self.go_on.recv();
    }
}

/// What breaks the thread that gives it back.
struct Breaks;

impl Drop for Breaks {
    fn drop(&mut self) {
        panic!("as by a defect");
    }
}

impl Hub {
    /// Entries with these numbers come, all of them read at once.
    fn entries(&mut self, numbers: std::ops::RangeInclusive<u64>, size: usize) {
        let entry = |n: u64| Entry {
            id: EntryId::parse(n.to_string().as_bytes()).expect("an id"),
            fields: vec![b'x'; size].into(),
        };
        self.news(What::Entries(numbers.map(entry).collect()));
    }

    /// Holds the fan-out up until what this gives is dropped.
    fn hold_up(&mut self) -> Sender<()> {
        let ((held, is_held), (release, go_on)) = (channel(), channel());
        let (_, seat) = Self::seat(Shape::default(), Box::new(Slow { held, go_on }));
        let id = u64::MAX;
        self.actor.fanout.order(Order::Add(id, seat));
        self.actor
            .fanout
            .order(Order::End(id, vec![event::farewell("held")]));
        is_held.recv().expect("it is held up");
        release
    }
}

const FROM_NOW: Span = Span {
    begin: Begin::Now,
    until_gone: false,
};

#[tokio::test]
async fn what_does_not_fit_is_one_gap_and_what_follows_comes_in_order() {
    let mut hub = Hub::start().await;
    let mut own = hub.listen(Format::Entry, Some(FROM_NOW));
    let mut beside = hub.listen(Format::Json, None);
    hub.begins();
    hub.entries(1..=1, 10);
    assert_eq!(own.event(), ("1-0".into(), "message".into()));
    assert_eq!(beside.event().1, "message");
    let held = hub.hold_up();
    hub.entries(2..=20, LARGE);
    // It would fit, and comes all the same not before the gap.
    hub.entries(21..=21, 10);
    assert_eq!(hub.actor.lossy.len(), 1);
    assert!(!hub.actor.fanout.has_room());
    drop(held);
    let mut taken = 1;
    while hub.actor.stats.dropped.load(Ordering::Relaxed) + taken < 21 {
        taken += 1;
        assert_eq!(own.event(), (format!("{taken}-0"), "message".into()));
        assert_eq!(beside.event().1, "message");
    }
    assert!((2..20).contains(&taken), "{taken} were taken");
    hub.entries(22..=23, 10);
    assert_eq!(own.event(), ("21-0".into(), "gap".into()));
    assert_eq!(own.event(), ("22-0".into(), "message".into()));
    assert_eq!(own.event(), ("23-0".into(), "message".into()));
    assert_eq!(beside.event().1, "gap");
    // It was told, and is not told again.
    hub.actor.tell_of_losses();
    hub.entries(24..=24, 10);
    assert_eq!(own.event(), ("24-0".into(), "message".into()));
    for _ in 22..=24 {
        assert_eq!(beside.event().1, "message");
    }
}

#[tokio::test]
async fn a_gap_is_told_where_nothing_follows() {
    let mut hub = Hub::start().await;
    let mut own = hub.listen(Format::Entry, Some(FROM_NOW));
    hub.begins();
    let held = hub.hold_up();
    hub.entries(1..=20, LARGE);
    drop(held);
    let mut taken = 0;
    while hub.actor.stats.dropped.load(Ordering::Relaxed) + taken < 20 {
        taken += 1;
        assert_eq!(own.event(), (format!("{taken}-0"), "message".into()));
    }
    assert!(hub.actor.next_loss_check.is_some());
    hub.actor.tell_of_losses();
    assert_eq!(own.event(), ("20-0".into(), "gap".into()));
    assert!(hub.actor.next_loss_check.is_none() && hub.actor.lossy.is_empty());
}

#[tokio::test]
async fn a_gap_comes_before_the_end() {
    let mut hub = Hub::start().await;
    let span = Span {
        until_gone: true,
        ..FROM_NOW
    };
    let mut own = hub.listen(Format::Entry, Some(span));
    hub.begins();
    let id = *hub.actor.subscribers.keys().next().expect("a subscriber");
    hub.news(What::Checked(id, false));
    let held = hub.hold_up();
    hub.entries(1..=20, LARGE);
    hub.news(What::Gone(None));
    drop(held);
    let mut taken = 0;
    while hub.actor.stats.dropped.load(Ordering::Relaxed) + taken < 20 {
        taken += 1;
        assert_eq!(own.event(), (format!("{taken}-0"), "message".into()));
    }
    assert_eq!(own.event(), ("20-0".into(), "gap".into()));
    assert!(own.ends());
}

#[tokio::test]
async fn a_loss_shows_by_the_id_of_what_another_topic_sent_in_between() {
    let mut hub = Hub::start().await;
    let topics = [hub.topic.clone(), Topic::Stream("t".into())];
    let mut stream = hub.listen_to(&topics, None);
    for topic in &topics {
        hub.topic = topic.clone();
        hub.begins();
    }
    let held = hub.hold_up();
    hub.topic = topics[0].clone();
    hub.entries(1..=20, LARGE);
    assert!(hub.actor.lossy.contains(&topics[0]));
    // There is room for this one.
    hub.topic = topics[1].clone();
    hub.entries(1..=1, 10);
    assert!(!hub.actor.lossy.contains(&topics[1]));
    drop(held);
    for _ in hub.actor.stats.dropped.load(Ordering::Relaxed)..20 {
        assert_eq!(stream.event().1, "message");
    }
    let (last, name) = stream.event();
    assert_eq!(name, "message");
    // Before it gets the gap it is away.
    hub.actor.tell_of_losses();
    assert!(hub.actor.lossy.is_empty());
    let mut back = hub.listen_to(&topics, Some(last));
    hub.entries(2..=2, 10);
    assert_eq!(back.event().1, "gap");
    assert_eq!(back.event().1, "message");
}

#[tokio::test]
async fn who_is_refused_and_still_there_has_no_part_in_what_stands_again() {
    let mut hub = Hub::start().await;
    let mut refused = hub.listen(Format::Json, None);
    hub.begins();
    hub.entries(1..=1, 10);
    assert_eq!(refused.event().1, "message");
    // That it has left is not known: it may take its time.
    let error = ServerError::new("WRONGTYPE", "it is something else");
    hub.news(What::Refused(error));
    let mut next = hub.listen(Format::Json, None);
    hub.begins();
    hub.entries(2..=2, 10);
    assert_eq!(next.event().1, "message");
    assert!(refused.ends());
    assert_eq!(hub.actor.subscribers.len(), 1);
}

#[tokio::test]
async fn a_fan_out_that_is_given_up_ends_its_streams() {
    let fanout = fan_out(&Arc::new(Stats::default()));
    let (mut client, seat) = Hub::seat(JSON, Box::new(()));
    fanout.order(Order::Add(1, seat));
    fanout.order(Order::Open(1, Vec::new(), Vec::new()));
    // When these have come, one by one, the thread waits for more.
    for _ in 0..10 {
        fanout.order(Order::Send(1, vec![event::heartbeat()]));
        for _ in 0..2 {
            client.reader.read_line(&mut String::new()).expect("a line");
        }
    }
    drop(fanout);
    assert!(client.ends());
}

#[tokio::test]
async fn the_hub_ends_with_a_thread_of_its_fan_out() {
    let config = nowhere();
    let upstream = Upstream::start(&config).await.expect("it may come later");
    let runtime = tokio::runtime::Handle::current();
    let hub = crate::hub::Hub::start(&config, upstream, &runtime).expect("threads");
    let (client, seat) = Hub::seat(JSON, Box::new(Breaks));
    let subscription = Subscription {
        topics: vec![Topic::Stream("s".into())],
        last_event_id: None,
        span: None,
        seat,
    };
    assert!(hub.join(subscription).is_ok());
    drop(client);
    let ended = tokio::time::timeout(Duration::from_secs(20), hub.ended());
    assert!(ended.await.is_ok());
}

#[tokio::test]
async fn what_waits_for_the_fan_out_is_bounded_however_small_it_is() {
    let mut hub = Hub::start().await;
    let mut own = hub.listen(Format::Entry, Some(FROM_NOW));
    hub.begins();
    let held = hub.hold_up();
    let mut taken = 0;
    while hub.actor.fanout.has_room() {
        taken += 1;
        hub.entries(taken..=taken, 1);
    }
    assert!(taken < 100_000, "{taken}");
    drop(held);
    assert_eq!(own.event(), ("1-0".into(), "message".into()));
}

#[tokio::test]
async fn a_loss_that_the_fan_out_does_not_take_is_told_later() {
    let mut hub = Hub::start().await;
    let mut own = hub.listen(Format::Entry, Some(FROM_NOW));
    hub.begins();
    let held = hub.hold_up();
    let mut count = 0;
    while hub.actor.fanout.has_room() {
        count += 1;
        hub.entries(count..=count, LARGE);
    }
    assert!(hub.actor.lossy.is_empty(), "all of them were taken");
    let up_to = EntryId::parse(b"99").expect("an id");
    hub.news(What::Lost(Loss::new(Reason::NotKept, up_to)));
    drop(held);
    for n in 1..=count {
        assert_eq!(own.event(), (format!("{n}-0"), "message".into()));
    }
    hub.actor.tell_of_losses();
    assert_eq!(own.event(), ("99-0".into(), "gap".into()));
}
