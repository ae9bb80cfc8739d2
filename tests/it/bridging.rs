//! The ways from sync into async code: what each kind of runtime does with the tasks spawned on it,
//! and whether the examples do what they say.

use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::Semaphore;

use task_spawner::{SpawnerError, Task, TaskSpawner};

use crate::env::example;

#[path = "../../examples/task_spawner.rs"]
#[allow(dead_code, reason = "its main and what only that uses")]
mod task_spawner;

/// No test takes this long unless it hangs.
const PATIENCE: Duration = Duration::from_secs(30);

/// A runtime with a thread of its own, and a clock for others: it sends a tick now and again until
/// nobody listens.
fn ticking_runtime() -> (Runtime, mpsc::Receiver<()>) {
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let (tick, ticks) = mpsc::channel();
    runtime.spawn(async move {
        while tick.send(()).is_ok() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    (runtime, ticks)
}

/// Spawns a task that makes progress whenever it is let, and returns how far it has got.
fn spawn_counter(runtime: &Runtime) -> Arc<AtomicUsize> {
    let count = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&count);
    runtime.spawn(async move {
        loop {
            counter.fetch_add(1, Ordering::SeqCst);
            tokio::task::yield_now().await;
        }
    });
    count
}

#[test]
fn tasks_of_a_multi_thread_runtime_go_on_by_themselves() {
    let (_runtime, ticks) = ticking_runtime();
    for _ in 0..20 {
        ticks.recv_timeout(PATIENCE).unwrap();
    }
}

#[test]
fn tasks_of_a_current_thread_runtime_stand_still_between_calls() {
    let (_clock, ticks) = ticking_runtime();
    let runtime = Builder::new_current_thread().build().unwrap();
    let count = spawn_counter(&runtime);

    let mut before = 0;
    for _ in 0..3 {
        // Time passes, as the other runtime's tasks show, but not for this one.
        for _ in 0..20 {
            ticks.recv_timeout(PATIENCE).unwrap();
        }
        assert_eq!(count.load(Ordering::SeqCst), before);

        // Each time that the future given to `block_on` waits, it is the task's turn.
        runtime.block_on(async {
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
        });
        let after = count.load(Ordering::SeqCst);
        assert!(after > before, "no progress from {before} on");
        before = after;
    }
}

#[test]
fn the_spawner_answers_each_task() {
    let (spawner, _actor) = TaskSpawner::start(2, async |task: Task| task.name).unwrap();
    // More than the queue holds, so that some have to wait to get in.
    let answers: Vec<_> = (0..50)
        .map(|n| spawner.spawn_task(task(&n.to_string())).unwrap())
        .collect();
    for (n, answer) in answers.into_iter().enumerate() {
        assert_eq!(answer.wait().unwrap(), n.to_string());
    }
}

#[test]
fn the_spawner_never_runs_more_tasks_than_it_may() {
    const ACTIVE: u32 = 2;
    const TASKS: usize = 8;

    // Every task says that it runs, and goes on when it is let.
    let (entered, entries) = mpsc::channel();
    let gate = Arc::new(Semaphore::new(0));
    let running = Arc::new(AtomicUsize::new(0));
    let handle = {
        let (gate, running) = (Arc::clone(&gate), Arc::clone(&running));
        move |task: Task| {
            let (entered, gate, running) = (entered.clone(), gate.clone(), running.clone());
            async move {
                let now = running.fetch_add(1, Ordering::SeqCst) + 1;
                entered.send(now).unwrap();
                gate.acquire().await.unwrap().forget();
                running.fetch_sub(1, Ordering::SeqCst);
                task.name
            }
        }
    };

    let (spawner, _actor) = TaskSpawner::start(ACTIVE, handle).unwrap();
    let answers: Vec<_> = (0..TASKS)
        .map(|n| spawner.spawn_task(task(&n.to_string())).unwrap())
        .collect();

    let mut most = 0;
    for n in 0..TASKS {
        most = most.max(entries.recv_timeout(PATIENCE).unwrap());
        // The first two come in together, each later one in the place of another.
        if n + 1 >= ACTIVE as usize {
            gate.add_permits(1);
        }
    }
    gate.add_permits(TASKS);
    for answer in answers {
        answer.wait().unwrap();
    }
    assert_eq!(most, ACTIVE as usize);
}

#[test]
fn a_stopped_spawner_finishes_what_it_has_and_refuses_more() {
    let gate = Arc::new(Semaphore::new(0));
    let handle = {
        let gate = Arc::clone(&gate);
        move |task: Task| {
            let gate = gate.clone();
            async move {
                let _ = gate.acquire().await.unwrap();
                task.name
            }
        }
    };
    let (spawner, actor) = TaskSpawner::start(1, handle).unwrap();
    let other = spawner.clone();

    let running = spawner.spawn_task(task("running")).unwrap();
    let waiting = spawner.spawn_task(task("waiting")).unwrap();
    spawner.stop().unwrap();
    gate.add_permits(1);

    assert_eq!(running.wait().unwrap(), "running");
    assert_eq!(waiting.wait().unwrap(), "waiting");
    actor.join().unwrap();
    assert_eq!(
        other.spawn_task(task("late")).unwrap_err(),
        SpawnerError::Stopped
    );
    assert_eq!(other.stop().unwrap_err(), SpawnerError::Stopped);
}

#[test]
fn the_actor_ends_when_nobody_can_reach_it() {
    let (spawner, actor) = TaskSpawner::start(1, async |task: Task| task.name).unwrap();
    let answer = spawner.spawn_task(task("last")).unwrap();
    drop(spawner);
    actor.join().unwrap();
    assert_eq!(answer.wait().unwrap(), "last");
}

#[test]
fn a_task_that_panics_takes_nothing_with_it() {
    let handle = async |task: Task| {
        assert_ne!(task.name, "bad", "as it is meant to");
        task.name
    };
    let (spawner, _actor) = TaskSpawner::start(1, handle).unwrap();

    let bad = spawner.spawn_task(task("bad")).unwrap();
    let good = spawner.spawn_task(task("good")).unwrap();
    assert_eq!(bad.wait().unwrap_err(), SpawnerError::Failed);
    assert_eq!(good.wait().unwrap(), "good");
}

fn task(name: &str) -> Task {
    Task {
        name: name.to_owned(),
        takes: Duration::ZERO,
    }
}

#[test]
fn the_blocking_client_example_runs_in_order() {
    let output = run_example("blocking_client");
    assert_in_order(
        &output,
        &[
            r#"greeting = Some(b"hello")"#,
            r#"pixel = Some(b"\0\xff")"#,
            "nothing = None",
            "session expired: in time",
            "refused: an expiry of 0ns is not between 1 ms and 10 years",
            r#"subscribed to ["news", "weather"]"#,
            r#"received on news: b"it works""#,
            r#"received on weather: b"sunny""#,
            r#"received on news: b"end""#,
            r#"iterated over b"one""#,
            r#"iterated over b"two""#,
            r#"iterated over b"three""#,
        ],
    );
}

#[test]
fn the_background_tasks_example_ends_its_longest_task_last() {
    let output = run_example("background_tasks");

    let starts = output.iter().filter(|line| line.contains(" starts, "));
    assert_eq!(starts.count(), 6);
    let ends: Vec<&String> = output
        .iter()
        .filter(|line| line.ends_with("ends"))
        .collect();
    assert_eq!(ends.len(), 6);
    assert_eq!(ends[5], "task 0 ends");

    // The bar has been seen to move while the tasks ran, and is full in the end.
    let bars: Vec<&String> = output.iter().filter(|line| line.starts_with('[')).collect();
    assert!(bars.len() > 2, "{bars:?}");
    assert!(bars[bars.len() - 1].ends_with("24/24"));
    assert_eq!(output[output.len() - 1], "all 6 tasks ended after 24 steps");
}

#[test]
fn the_task_spawner_example_runs_two_at_a_time() {
    let output = run_example("task_spawner");
    assert_in_order(
        &output,
        &[
            "answer: tea is ready",
            "answer: coffee is ready",
            "answer: maté is ready",
            "answer: cocoa is ready",
            "refused: the task spawner has stopped",
        ],
    );

    let mut running = 0;
    let mut most = 0;
    for line in &output {
        if line.ends_with(" starts") {
            running += 1;
        } else if line.ends_with(" ends") {
            running -= 1;
        }
        most = most.max(running);
    }
    assert_eq!((running, most), (0, 2));
}

/// Asserts that `expected` are among the lines of `output`, in that order.
fn assert_in_order(output: &[String], expected: &[&str]) {
    let mut lines = output.iter();
    for expected in expected {
        assert!(
            lines.any(|line| line == expected),
            "no {expected:?} where it should be in {output:#?}"
        );
    }
}

/// Runs an example to its end, which has to be a good one, and returns the lines it has printed.
fn run_example(name: &str) -> Vec<String> {
    let output = Command::new(example(name)).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(str::to_owned).collect()
}
