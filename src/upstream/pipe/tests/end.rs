//! Whoever waits learns of the end, whatever ends.

use super::*;

/// Drops its pipe when it is woken.
struct LastPipe(Mutex<Option<Pipe>>);

impl Wake for LastPipe {
    fn wake(self: Arc<Self>) {
        drop(self.0.lock().expect("nobody panicked").take());
    }
}

#[test]
fn who_is_told_of_the_end_may_drop_the_last_pipe() {
    for is_late in [false, true] {
        for Ends {
            runtime,
            pipe,
            driver,
            server,
        } in each_kind()
        {
            let packed = Packed::one(&Command::new("PING"));
            let time = if is_late {
                Duration::from_millis(20)
            } else {
                LONG
            };
            let sent = pipe.send(packed, Instant::now() + time, usize::MAX);
            let (mut replies, pump) = sent.expect("a connection");
            drop(pump);
            let last = Waker::from(Arc::new(LastPipe(Mutex::new(Some(pipe)))));
            let polled = pin!(&mut replies).poll(&mut Context::from_waker(&last));
            assert!(polled.is_pending());
            if !is_late {
                drop(server);
                soon(&runtime, driver).expect("without a panic");
            }
            let told = soon(&runtime, replies);
            assert_eq!(matches!(told, Ok(Err(Late))), is_late);
        }
    }
}

#[test]
fn who_waits_is_told_when_the_runtime_ends() {
    for Ends {
        runtime,
        pipe,
        server: _server,
        ..
    } in each_kind()
    {
        let (replies, pump) = send(&pipe, "never");
        drop(pump);
        drop(runtime);
        assert!(replies.blocking_recv().is_err());
        let packed = Packed::one(&Command::new("PING"));
        let sent = pipe.send(packed, Instant::now() + LONG, usize::MAX);
        assert!(sent.is_none());
    }
}

#[test]
fn a_driver_that_never_runs_leaves_nobody_waiting() {
    let (client, _server) = UnixStream::pair().expect("sockets");
    client.set_nonblocking(true).expect("a socket");
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let within = runtime.enter();
    let stream = tokio::net::UnixStream::from_std(client).expect("a socket");
    let (pipe, driver) = Pipe::new(Box::new(stream));
    drop(within);
    let (replies, pump) = send(&pipe, "never");
    drop(pump);
    drop(driver);
    assert!(replies.blocking_recv().is_err());
}
