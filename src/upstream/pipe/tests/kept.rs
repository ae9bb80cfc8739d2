//! Of what comes, no more is kept than somebody waits for and there is room for.

use super::*;

/// How many wait, how many replies the first of them waits for, and how many have been kept for it.
fn waiting(pipe: &Pipe) -> (usize, usize, usize) {
    let state = pipe.end.shared.lock();
    let first = state.waiting.front();
    let (missing, kept) = first.map_or((0, 0), |first| (first.missing, first.replies.len()));
    (state.waiting.len(), missing, kept)
}

#[test]
fn replies_that_there_is_no_room_for_are_not_kept_and_others_are() {
    for Ends {
        runtime,
        pipe,
        server,
        ..
    } in each_kind()
    {
        let large = "x".repeat(10_000);
        let all = ["small", &large, &large, &large, "small"].map(echoes);
        let by = Instant::now() + LONG;
        let sent = pipe.send(Packed::all(&all), by, 2 * large.len() + 1000);
        let (replies, pump) = sent.expect("a connection");
        drop(pump);
        thread::scope(|scope| {
            scope.spawn(|| echo(&server));
            let replies = soon(&runtime, replies).expect("the connection lives");
            let kept = |text: &str| Ok(Reply::Bulk(text.to_owned().into()));
            let [small, large] = ["small", &large].map(kept);
            let none = Err(Error::TooLarge);
            let expected = [small.clone(), large.clone(), large, none, small];
            assert!(replies.expect("in time") == expected);
            server.shutdown(std::net::Shutdown::Both).expect("a socket");
        });
    }
}

#[test]
fn replies_that_nobody_waits_for_any_more_are_not_kept() {
    for Ends {
        runtime,
        pipe,
        server,
        ..
    } in each_kind()
    {
        let two = ["first", "second"].map(echoes);
        let send_two = |by| {
            let sent = pipe.send(Packed::all(&two), by, usize::MAX);
            sent.expect("a connection").0
        };
        drop(send_two(Instant::now() + LONG));
        let late = send_two(Instant::now());
        assert!(matches!(soon(&runtime, late), Ok(Err(Late))));
        let (next, pump) = send(&pipe, "next");
        drop(pump);
        for left in [3, 2] {
            (&server).write_all(b"$5\r\nfirst\r\n").expect("a socket");
            while waiting(&pipe) != (left, 1, 0) {
                assert_ne!(waiting(&pipe), (left, 1, 1), "the first is kept");
                thread::yield_now();
            }
            let second = b"$6\r\nsecond\r\n";
            (&server).write_all(second).expect("a socket");
            while waiting(&pipe).0 == left {
                thread::yield_now();
            }
        }
        (&server).write_all(b"$4\r\nnext\r\n").expect("a socket");
        let next = soon(&runtime, next).expect("the connection lives");
        assert_eq!(text(next), "next");
    }
}
