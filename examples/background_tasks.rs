//! Second way into async code: tasks spawned on a runtime that has threads of its own.
//!
//! `main` is an ordinary function in the role of a user interface. It starts some slow tasks,
//! keeps drawing a progress bar from a value they share with it, and collects their results in the
//! end. The tasks that start first sleep longest, so they end in the reverse order.
//!
//! The runtime has to be of the `multi_thread` kind. On a `current_thread` runtime the bar would
//! stay empty for ever: tasks make progress there only while somebody calls `block_on`.
//!
//! Run it with `cargo run --example background_tasks`.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::task::JoinHandle;

/// How many tasks run.
const TASKS: u32 = 6;

/// Each task reports this many times that it has come a step further.
const STEPS: u32 = 4;

/// By how much the steps of a task are shorter than those of the task started before it. Four of
/// them make 100 ms between two ends, enough to keep these in order on a busy machine.
const STEP: Duration = Duration::from_millis(25);

/// How often the bar is drawn: what a screen does, about.
const FRAME: Duration = Duration::from_millis(16);

fn main() -> Result<(), Box<dyn Error>> {
    // Two threads carry any number of tasks, as long as those mostly wait.
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;

    // A handle can be cloned and given to any thread that wants to start something on the runtime.
    let handle = runtime.handle().clone();
    let progress = Arc::new(AtomicU32::new(0));
    let tasks: Vec<JoinHandle<u32>> = (0..TASKS)
        .map(|id| handle.spawn(work(id, Arc::clone(&progress))))
        .collect();

    draw_until_done(&progress, &tasks);

    // A `JoinHandle` is a future too, and so `block_on` waits for it. It fails if its task has
    // panicked.
    let mut steps = 0;
    for task in tasks {
        steps += runtime.block_on(task)?;
    }
    println!("all {TASKS} tasks ended after {steps} steps");
    Ok(())
}

/// The slow task: it sleeps step by step, reports each to `progress`, and returns how many it made.
async fn work(id: u32, progress: Arc<AtomicU32>) -> u32 {
    let step = STEP * (TASKS - id);
    println!("task {id} starts, {:?} to go", step * STEPS);

    for _ in 0..STEPS {
        tokio::time::sleep(step).await;
        progress.fetch_add(1, Ordering::Relaxed);
    }

    println!("task {id} ends");
    STEPS
}

/// Draws the bar whenever `progress` has moved, until all `tasks` have ended. No lock and no
/// waiting: the counter is read once a frame, and the time in between is the interface's own.
fn draw_until_done(progress: &AtomicU32, tasks: &[JoinHandle<u32>]) {
    let total = TASKS * STEPS;
    let mut drawn = None;
    loop {
        // Looked at before the counter is, so that the last step is never left out of the bar.
        let done = tasks.iter().all(JoinHandle::is_finished);

        let steps = progress.load(Ordering::Relaxed);
        if drawn != Some(steps) {
            let bar: String = (0..total)
                .map(|n| if n < steps { '#' } else { '.' })
                .collect();
            println!("[{bar}] {steps}/{total}");
            drawn = Some(steps);
        }

        if done {
            return;
        }
        thread::sleep(FRAME);
    }
}
