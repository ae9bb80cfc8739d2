//! The entries of Redis streams as events: in order, resumed on any gateway, and told of where they are gone.

use std::thread;

use serde_json::{Value, json};

use crate::env::entries::{PATH, add, again, gap, ids, start};
use crate::env::{EventStream, TestGateway, TestRedis, wait_until};

#[test]
fn entries_come_in_order_under_their_own_ids() {
    let (redis, gateway) = start();
    add(&redis, &["1-0", "1-1"]);
    let mut now = gateway.listen(PATH);
    let mut all = gateway.listen(&format!("{PATH}?from=0"));
    let mut behind = gateway.listen(&format!("{PATH}?from=1-0"));
    let mut dollar = gateway.listen(&format!("{PATH}?from=$"));
    add(&redis, &["2-0", "3-0"]);
    assert_eq!(ids(&mut now, 2), ["2-0", "3-0"]);
    assert_eq!(ids(&mut all, 4), ["1-0", "1-1", "2-0", "3-0"]);
    assert_eq!(ids(&mut behind, 3), ["1-1", "2-0", "3-0"]);
    assert_eq!(ids(&mut dollar, 2), ["2-0", "3-0"]);
    add(&redis, &["4-0"]);
    for stream in [&mut now, &mut all, &mut behind, &mut dollar] {
        assert_eq!(ids(stream, 1), ["4-0"]);
    }
    assert_eq!(
        now.head.header("cache-control"),
        Some("no-store, no-transform")
    );
    assert!(now.retry.is_some());
}

#[test]
fn a_stream_that_is_not_there_is_waited_for() {
    let (redis, gateway) = start();
    let mut stream = gateway.listen(PATH);
    add(&redis, &["5-0", "5-1"]);
    assert_eq!(ids(&mut stream, 2), ["5-0", "5-1"]);
    let other = "/v1/streams/other/events";
    let mut other = gateway.listen(other);
    other.wait_for("id: 0-0\n\n");
    // Who was told of the beginning comes back to all of it.
    redis.cli(&["XADD", "other", "1-0", "a", "b"]);
    assert_eq!(other.event().data, r#"{"a":"b"}"#);
}

#[test]
fn who_comes_back_misses_nothing_on_any_gateway() {
    let (redis, gateway) = start();
    let mut first = gateway.listen(PATH);
    add(&redis, &["1-0", "2-0", "3-0"]);
    assert_eq!(ids(&mut first, 1), ["1-0"]);
    drop(first);
    add(&redis, &["4-0"]);
    let mut second = again(&gateway, "1-0");
    assert_eq!(ids(&mut second, 3), ["2-0", "3-0", "4-0"]);
    // Another gateway, and this one after a restart: neither has ever seen the stream.
    gateway.shutdown();
    add(&redis, &["5-0"]);
    let other = TestGateway::over(&redis);
    let mut third = again(&other, "2-0");
    assert_eq!(ids(&mut third, 3), ["3-0", "4-0", "5-0"]);
    let query = format!("{PATH}?from=0&last_event_id=4-0");
    let mut fourth = other.listen(&query);
    assert_eq!(ids(&mut fourth, 1), ["5-0"]);
    // The header is newer than the address, which a browser keeps.
    let mut fifth = EventStream::open(other.address, &query, &[("Last-Event-ID", "5-0")]);
    add(&redis, &["6-0"]);
    assert_eq!(ids(&mut fifth, 1), ["6-0"]);
    assert_eq!(ids(&mut fourth, 1), ["6-0"]);
}

#[test]
fn an_opening_claims_no_more_than_was_seen() {
    let (redis, gateway) = start();
    add(&redis, &["1-0", "2-0"]);
    let mut stream = again(&gateway, "1-0");
    stream.wait_for("id: 1-0\n\n");
    // A beginning that was chosen is chosen again by the address.
    let mut chosen = gateway.listen(&format!("{PATH}?from=1-0"));
    chosen.wait_for("2-0");
    assert!(!chosen.text().contains("id: 1-0"), "{}", chosen.text());
    let mut now = gateway.listen(PATH);
    now.wait_for("id: 2-0\n\n");
}

#[test]
fn what_was_trimmed_is_a_gap() {
    let (redis, gateway) = start();
    add(&redis, &["1-0", "2-0", "3-0", "4-0", "5-0"]);
    redis.cli(&["XTRIM", "s", "MAXLEN", "2"]);
    let said = json!({"reason": "not-kept", "streams": ["s"]});
    let mut stream = again(&gateway, "1-0");
    let (last, told) = gap(&mut stream);
    assert_eq!(told, said);
    assert_eq!(ids(&mut stream, 2), ["4-0", "5-0"]);
    // Behind the gap nothing is missing.
    let mut stream = again(&gateway, &last);
    assert_eq!(ids(&mut stream, 2), ["4-0", "5-0"]);
    // Who has seen what is still there misses nothing.
    let mut stream = again(&gateway, "4-0");
    assert_eq!(ids(&mut stream, 1), ["5-0"]);
    // What was deleted from the middle, too.
    add(&redis, &["6-0", "7-0"]);
    redis.cli(&["XDEL", "s", "6-0"]);
    let other = TestGateway::over(&redis);
    let mut stream = again(&other, "4-0");
    assert_eq!(ids(&mut stream, 1), ["5-0"]);
    assert_eq!(gap(&mut stream), ("6-0".into(), said));
    assert_eq!(ids(&mut stream, 1), ["7-0"]);
    let mut stream = again(&other, "6-0");
    assert_eq!(ids(&mut stream, 1), ["7-0"]);
    // Who chose where to begin is owed nothing before that.
    let mut stream = other.listen(&format!("{PATH}?from=0"));
    assert_eq!(ids(&mut stream, 3), ["4-0", "5-0", "7-0"]);
}

#[test]
fn what_was_deleted_pages_further_on_is_told_there() {
    let (redis, gateway) = start();
    let script = "for n = 1, 40 do redis.call('XADD', KEYS[1], n .. '-0', 'n', n .. '-0') end";
    redis.cli(&["EVAL", script, "1", "s"]);
    redis.cli(&["XDEL", "s", "30-0"]);
    let mut stream = again(&gateway, "1-0");
    let before: Vec<_> = (2..30).map(|n| format!("{n}-0")).collect();
    assert_eq!(ids(&mut stream, 28), before);
    assert_eq!(gap(&mut stream).0, "30-0");
    assert_eq!(ids(&mut stream, 10)[9], "40-0");
    // What was deleted at the end is nothing that is waited for.
    redis.cli(&["XDEL", "s", "40-0"]);
    let other = TestGateway::over(&redis);
    let mut stream = other.listen(&format!("{PATH}?from=37-0"));
    assert_eq!(ids(&mut stream, 2), ["38-0", "39-0"]);
    add(&redis, &["41-0"]);
    assert_eq!(ids(&mut stream, 1), ["41-0"]);
}

#[test]
fn what_was_trimmed_before_it_could_be_read_is_counted() {
    let (redis, gateway) = start();
    let mut stream = gateway.listen(PATH);
    let mut several = gateway.listen("/v1/events?stream=s");
    let script = "for n = 1, 100 do \
                  redis.call('XADD', KEYS[1], 'MAXLEN', 1, n .. '-0', 'n', n .. '-0') end";
    redis.cli(&["EVAL", script, "1", "s"]);
    assert_eq!(ids(&mut stream, 1), ["100-0"]);
    let told = json!({"reason": "not-kept", "streams": ["s"], "missing": 99});
    assert_eq!(gap(&mut stream), ("100-0".into(), told.clone()));
    assert_eq!(several.event().name, "message");
    assert_eq!(gap(&mut several).1, told);
    add(&redis, &["101-0"]);
    assert_eq!(ids(&mut stream, 1), ["101-0"]);
}

#[test]
fn a_stream_begun_anew_is_a_gap() {
    let redis = TestRedis::start();
    // Streams on which nothing happens are looked at this often.
    let gateway = TestGateway::over_with(&redis, |config| {
        config.heartbeat = std::time::Duration::from_millis(300);
    });
    add(&redis, &["5-0", "6-0"]);
    let mut stream = gateway.listen(PATH);
    redis.cli(&["DEL", "s"]);
    let told = json!({"reason": "recreated", "streams": ["s"]});
    assert_eq!(gap(&mut stream), ("0-0".into(), told.clone()));
    add(&redis, &["1-0", "2-0"]);
    assert_eq!(ids(&mut stream, 2), ["1-0", "2-0"]);
    // Those who were away get the gap, and all of the new stream.
    let mut stream = again(&gateway, "6-0");
    assert_eq!(gap(&mut stream), ("0-0".into(), told.clone()));
    assert_eq!(ids(&mut stream, 2), ["1-0", "2-0"]);
    // Also where the new one has greater ids.
    redis.cli(&["DEL", "s"]);
    add(&redis, &["8-0"]);
    let other = TestGateway::over(&redis);
    let mut stream = again(&other, "2-0");
    assert_eq!(gap(&mut stream).1, told);
    assert_eq!(ids(&mut stream, 1), ["8-0"]);
}

#[test]
fn a_stream_begun_anew_at_once_with_as_many_entries_is_a_gap() {
    let (redis, gateway) = start();
    add(&redis, &["1-0", "2-0", "3-0"]);
    let mut stream = gateway.listen(PATH);
    let mut until = gateway.listen(&format!("{PATH}?until=gone"));
    let entries = |from: u64, to| (from..=to).map(|n| format!("{n}-0"));
    let commands = ["XADD s 4-0 n 4-0".to_owned(), "DEL s".to_owned()].into_iter();
    let commands = commands.chain(entries(5, 9).map(|id| format!("XADD s {id} n {id}")));
    let commands: Vec<_> = commands.collect();
    redis.transaction(&commands.iter().map(String::as_str).collect::<Vec<_>>());
    let told = json!({"reason": "recreated", "streams": ["s"]});
    for stream in [&mut stream, &mut until] {
        assert_eq!(ids(stream, 5), entries(5, 9).collect::<Vec<_>>());
        assert_eq!(gap(stream), ("9-0".into(), told.clone()));
    }
    // Told once.
    add(&redis, &["10-0"]);
    assert_eq!(ids(&mut stream, 1), ["10-0"]);
}

#[test]
fn an_id_that_is_none_is_a_gap_and_goes_on_from_now() {
    let (redis, gateway) = start();
    add(&redis, &["1-0"]);
    let mut stream = again(&gateway, "k3x9-17");
    let told = json!({"reason": "unknown-id", "streams": ["s"]});
    assert_eq!(gap(&mut stream), ("1-0".into(), told));
    add(&redis, &["2-0"]);
    assert_eq!(ids(&mut stream, 1), ["2-0"]);
}

#[test]
fn what_is_no_stream_is_refused_before_it_opens() {
    let (redis, gateway) = start();
    redis.cli(&["SET", "s", "text"]);
    gateway.get(PATH).assert_problem(409, "in the way");
    let answer = gateway.get("/v1/events?channel=a&stream=s");
    answer.assert_problem(409, "in the way");
    assert!(
        answer.json()["redis_error"]
            .as_str()
            .unwrap()
            .starts_with("WRONGTYPE")
    );
    for (query, said) in [
        ("?from=x", "from"),
        ("?from=1-0-0", "from"),
        ("?format=raw", "format"),
    ] {
        gateway
            .get(&format!("{PATH}{query}"))
            .assert_problem(400, said);
    }
    let head = gateway.request("HEAD", PATH, b"");
    assert_eq!(head.header("content-type"), Some("text/event-stream"));
    // It becomes something else while it is listened to: others go on, and its listeners learn of it.
    redis.cli(&["DEL", "s"]);
    let mut stream = gateway.listen(PATH);
    let mut other = gateway.listen("/v1/streams/other/events");
    redis.cli(&["SET", "s", "text"]);
    redis.cli(&["XADD", "other", "1-0", "n", "1-0"]);
    assert_eq!(ids(&mut other, 1), ["1-0"]);
    stream.wait_for_end();
    redis.cli(&["XADD", "other", "2-0", "n", "2-0"]);
    assert_eq!(ids(&mut other, 1), ["2-0"]);
    let embedded = TestGateway::start();
    embedded.get(PATH).assert_problem(501, "XREAD");
    embedded
        .get("/v1/events?stream=s")
        .assert_problem(501, "XREAD");
}

#[test]
fn many_listeners_share_one_reading() {
    let (redis, gateway) = start();
    add(&redis, &["1-0"]);
    let mut streams: Vec<_> = (0..200).map(|_| again(&gateway, "1-0")).collect();
    for n in 0..10 {
        let path = format!("/v1/streams/other{n}/events");
        streams.push(gateway.listen(&path));
    }
    let reading = || {
        let list = redis.cli(&["CLIENT", "LIST"]);
        list.lines()
            .filter(|line| line.contains("cmd=xread"))
            .count()
    };
    wait_until("all streams are read together", || reading() == 1);
    let clients = redis.clients();
    for n in 2..=21 {
        add(&redis, &[&format!("{n}-0")]);
    }
    for stream in &mut streams[..200] {
        assert_eq!(ids(stream, 20).last().unwrap(), "21-0");
    }
    assert_eq!((reading(), redis.clients()), (1, clients));
    // A reading for each entry at most, and one for each stream that was added.
    let stats = redis.cli(&["INFO", "commandstats"]);
    let xread = stats
        .lines()
        .find_map(|line| line.strip_prefix("cmdstat_xread:calls="));
    let calls: u32 = xread.unwrap().split(',').next().unwrap().parse().unwrap();
    assert!(calls < 60, "{calls} calls of XREAD");
    drop(streams);
    wait_until("nothing is read any more", || reading() == 0);
}

#[test]
fn many_come_and_go_on_two_gateways_while_entries_pour_in() {
    let redis = TestRedis::start();
    // One keeps what it has read, the other nearly nothing.
    let gateways = [
        TestGateway::over(&redis),
        TestGateway::over_with(&redis, |config| config.replay_events = 2),
    ];
    const ENTRIES: usize = 2000;
    thread::scope(|scope| {
        let streams: Vec<_> = (0..20).map(|n| gateways[n % 2].listen(PATH)).collect();
        for (n, mut stream) in streams.into_iter().enumerate() {
            let gateways = &gateways;
            scope.spawn(move || {
                for expected in 1..=ENTRIES {
                    // Each leaves at other entries, and goes to the other gateway.
                    if expected > 1 && expected % (7 * (n + 1)) == 0 {
                        let gateway = &gateways[(n + expected) % 2];
                        stream = again(gateway, &stream.last_id);
                    }
                    let event = stream.event();
                    assert_eq!(
                        (&*event.name, event.id),
                        ("message", format!("{expected}-0"))
                    );
                }
            });
        }
        scope.spawn(|| {
            let script = "for n = ARGV[1], ARGV[2] do \
                          redis.call('XADD', KEYS[1], n .. '-0', 'n', n .. '-0') end";
            for n in (1..=ENTRIES).step_by(4) {
                let (first, last) = (n.to_string(), (n + 3).to_string());
                redis.cli(&["EVAL", script, "1", "s", &first, &last]);
            }
        });
    });
}

#[test]
fn large_entries_come_whole_and_at_their_reader_s_pace() {
    let (redis, gateway) = start();
    let script = "for n = 1, 40 do redis.call('XADD', KEYS[1], n .. '-0', 'n', n .. '-0', \
                  'x', string.rep('x', 300000)) end";
    redis.cli(&["EVAL", script, "1", "s"]);
    // 12 MB, of which the gateway may keep 1 MiB for a subscriber.
    let mut stream = gateway.listen(&format!("{PATH}?from=0"));
    for n in 1..=40 {
        let event = stream.event();
        let fields: Value = serde_json::from_str(&event.data).unwrap();
        assert_eq!(fields["n"], event.id);
        assert_eq!(event.id, format!("{n}-0"));
        assert_eq!(fields["x"].as_str().unwrap().len(), 300_000);
    }
    redis.cli(&["XADD", "s", "41-0", "n", "41-0"]);
    assert_eq!(ids(&mut stream, 1), ["41-0"]);
    assert_eq!(gateway.evicted(), 0);
}

#[test]
fn bytes_are_shown_as_everywhere() {
    let (redis, gateway) = start();
    let mut stream = gateway.listen("/v1/streams/%FF/events");
    let mut several = gateway.listen("/v1/events?stream=%FF&event=channel");
    let script =
        "return redis.call('XADD', '\\255', '1-0', 'b', '\\255', 'c', 'a\\n', '\\254', '')";
    redis.cli(&["EVAL", script, "0"]);
    let fields = json!({
        "b": {"value": "/w==", "encoding": "base64"},
        "c": "a\n",
        "": [{"field": "/g==", "field_encoding": "base64", "value": ""}],
    });
    let event = stream.event();
    assert_eq!(serde_json::from_str::<Value>(&event.data).unwrap(), fields);
    let event = several.event();
    let expected = json!({
        "stream": "/w==", "stream_encoding": "base64", "id": "1-0", "fields": fields,
    });
    assert_eq!(
        serde_json::from_str::<Value>(&event.data).unwrap(),
        expected
    );
    assert_eq!(event.name, "\u{FFFD}");
}
