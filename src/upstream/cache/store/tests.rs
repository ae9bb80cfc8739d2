//! The rules of the store, one by one, in a time of the tests' own.

use super::*;
use crate::upstream::write_set::keys;

const HERE: fn() -> Connections = || Connections::numbered(1, 1, 1);

/// A store that was just opened, and when.
fn open() -> (Store, Instant) {
    let store = Store::new(1 << 20);
    let now = Instant::now();
    store.open(HERE(), now);
    (store, now)
}

fn found(store: &Store, key: &str, now: Instant) -> Found {
    store.look_up(key.as_bytes(), HERE(), now).0
}

fn known(store: &Store, key: &str, now: Instant) -> Option<Reply> {
    match found(store, key, now) {
        Found::Hit(reply) => Some(reply),
        Found::Fill(fill) => {
            store.give_up(&fill);
            None
        }
        Found::Miss => None,
    }
}

/// Asks until there is a fill.
fn begin(store: &Store, key: &str, now: Instant) -> Fill {
    for _ in 0..3 {
        if let Found::Fill(fill) = found(store, key, now) {
            return fill;
        }
    }
    panic!("no fill of {key}");
}

fn value(text: &str) -> Option<Reply> {
    Some(Reply::Bulk(text.to_owned().into()))
}

fn put(store: &Store, key: &str, text: &str, now: Instant) {
    let fill = begin(store, key, now);
    store.fill(&fill, value(text), now + LONGEST_STAY);
}

#[test]
fn what_is_asked_for_twice_is_kept() {
    let (store, now) = open();
    assert!(matches!(found(&store, "k", now), Found::Miss));
    let Found::Fill(fill) = found(&store, "k", now) else {
        panic!("no fill at the second time");
    };
    assert!(store.is_wanted(&fill));
    for _ in 0..3 {
        assert!(
            matches!(found(&store, "k", now), Found::Miss),
            "two at once"
        );
    }
    store.fill(&fill, value("1"), now + LONGEST_STAY);
    assert_eq!(known(&store, "k", now), value("1"));
    assert_eq!(store.stats().hits, 1);
}

#[test]
fn a_fill_that_an_invalidation_overtook_is_not_stored() {
    let (store, now) = open();
    let everything = |store: &Store| store.invalidate_all();
    let key = |store: &Store| store.invalidate(b"k");
    for tell in [everything as fn(&Store), key] {
        let fill = begin(&store, "k", now);
        tell(&store);
        assert!(!store.is_wanted(&fill));
        // It does not come in by the registration of a later one either.
        let later = begin(&store, "k", now);
        store.fill(&fill, value("old"), now + LONGEST_STAY);
        assert_eq!(store.stats().values, 0);
        store.fill(&later, value("new"), now + LONGEST_STAY);
        assert_eq!(known(&store, "k", now), value("new"));
        tell(&store);
        assert_eq!(known(&store, "k", now), None);
    }
}

#[test]
fn what_is_being_written_is_neither_given_away_nor_filled() {
    for written in [keys(&["other", "k", "k"]), WriteSet::Anything] {
        let (store, now) = open();
        put(&store, "k", "old", now);
        let early = begin(&store, "other", now);
        store.begin_write(&written);
        store.begin_write(&written);
        store.fill(&early, value("old"), now + LONGEST_STAY);
        for _ in 0..2 {
            for _ in 0..3 {
                for key in ["k", "other"] {
                    assert!(matches!(found(&store, key, now), Found::Miss));
                }
            }
            store.end_write(&written);
        }
        assert_eq!(store.stats().values, 0);
        put(&store, "k", "new", now);
        assert_eq!(known(&store, "k", now), value("new"));
    }
    let (store, now) = open();
    put(&store, "k", "1", now);
    store.begin_write(&keys(&["other"]));
    store.begin_write(&WriteSet::Nothing);
    assert_eq!(known(&store, "k", now), value("1"));
}

#[test]
fn nothing_is_given_away_when_the_server_was_not_heard_lately() {
    let (store, now) = open();
    put(&store, "k", "1", now);
    let late = now + BOUND;
    assert_eq!(
        known(&store, "k", late - Duration::from_millis(1)),
        value("1")
    );
    for _ in 0..3 {
        assert!(matches!(found(&store, "k", late), Found::Miss));
    }
    store.heard(late);
    assert_eq!(known(&store, "k", late), value("1"));
}

#[test]
fn nothing_is_given_away_when_commands_may_go_elsewhere() {
    let (store, now) = open();
    put(&store, "k", "1", now);
    for (a, b, c) in [(2, 1, 1), (1, 2, 1), (1, 1, 2)] {
        for _ in 0..3 {
            let (found, _) = store.look_up(b"k", Connections::numbered(a, b, c), now);
            assert!(matches!(found, Found::Miss));
        }
    }
    assert_eq!(known(&store, "k", now), value("1"));
}

#[test]
fn the_end_of_the_connection_is_the_end_of_all() {
    let (store, now) = open();
    put(&store, "k", "1", now);
    let fill = begin(&store, "other", now);
    store.close();
    assert_eq!(store.stats().values, 0);
    store.heard(now);
    assert_eq!(known(&store, "k", now), None);
    store.open(HERE(), now);
    store.fill(&fill, value("old"), now + LONGEST_STAY);
    assert_eq!(store.stats().values, 0);
}

#[test]
fn a_value_goes_when_it_expires() {
    let (store, now) = open();
    let fill = begin(&store, "k", now);
    let soon = now + Duration::from_millis(5);
    store.fill(&fill, value("1"), soon);
    assert_eq!(known(&store, "k", now), value("1"));
    assert_eq!(known(&store, "k", soon), None);
    assert_eq!(store.stats().bytes, 0);
}

#[test]
fn the_bound_of_memory_holds_and_what_is_used_stays() {
    let (store, now) = open();
    put(&store, "used", "1", now);
    let text = "x".repeat(10_000);
    for n in 0..1000 {
        put(&store, &format!("key {n}"), &text, now);
        assert_eq!(known(&store, "used", now), value("1"), "at {n}");
        assert!(store.stats().bytes <= 1 << 20);
    }
    assert!(store.stats().values > 90);
    for n in 0..1000 {
        store.invalidate(format!("key {n}").as_bytes());
    }
    store.invalidate(b"used");
    assert_eq!(store.stats().bytes, 0);
    assert_eq!(store.stats().values, 0);
}

#[test]
fn what_stays_is_found_and_what_goes_leaves_no_room_behind() {
    let (store, now) = open();
    let key = |n: usize| format!("key {n}");
    for n in 0..1000 {
        put(&store, &key(n), &n.to_string(), now);
    }
    let stays = |n: usize| n % 100 == 7;
    for n in (0..1000).filter(|n| !stays(*n)) {
        store.invalidate(key(n).as_bytes());
    }
    for n in 0..1000 {
        let wanted = stays(n).then(|| value(&n.to_string())).flatten();
        assert_eq!(known(&store, &key(n), now), wanted, "{n}");
    }
    assert!(store.lock().entries.capacity() < 100);
}

#[test]
fn what_is_too_large_or_no_string_is_left_alone_until_it_changes() {
    let (store, now) = open();
    let large = value(&"x".repeat((1 << 20) / LARGEST_PART));
    for reply in [large, None] {
        let fill = begin(&store, "k", now);
        store.fill(&fill, reply, now + LONGEST_STAY);
        for _ in 0..3 {
            assert!(matches!(found(&store, "k", now), Found::Miss));
        }
        assert!(store.stats().bytes < 1000);
        store.invalidate(b"k");
        put(&store, "k", "1", now);
        assert_eq!(known(&store, "k", now), value("1"));
        store.invalidate(b"k");
    }
}

#[test]
fn whoever_asks_after_a_rest_is_told_to_wake() {
    let (store, now) = open();
    let wakes = |store: &Store| store.look_up(b"k", HERE(), now).1;
    assert!(!wakes(&store));
    assert!(store.is_in_use());
    assert!(!store.is_in_use());
    assert!(wakes(&store));
    assert!(!wakes(&store));
}
