//! Third way into async code: messages to an actor, a thread that owns a runtime and all that
//! happens on it.
//!
//! `TaskSpawner` is the actor's address. Whoever has one, and clones are cheap, sends it tasks and
//! gets an `Answer` for each, to wait for when it suits. The actor bounds both what waits (its
//! queue) and what runs (a semaphore), so that a flood of tasks slows down those who send them
//! instead of filling the memory. Once the actor has stopped, sending is an error, not a panic.
//!
//! Run it with `cargo run --example task_spawner`.

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::sync::{Semaphore, mpsc, oneshot};

/// How many messages wait for the actor before a sender has to wait as well.
const QUEUE: usize = 16;

/// How many tasks `main` lets run at once.
const ACTIVE: u32 = 2;

fn main() -> Result<(), Box<dyn Error>> {
    let (spawner, actor) = TaskSpawner::start(ACTIVE, brew)?;

    // All are handed over at once; two at a time are brewed.
    let mut answers = Vec::new();
    for (name, takes) in [("tea", 150), ("coffee", 100), ("maté", 50), ("cocoa", 50)] {
        answers.push(spawner.spawn_task(Task {
            name: name.to_owned(),
            takes: Duration::from_millis(takes),
        })?);
    }
    for answer in answers {
        println!("answer: {}", answer.wait()?);
    }

    spawner.stop()?;
    actor.join().map_err(|_| "the actor has panicked")?;

    let late = Task {
        name: "a last one".to_owned(),
        takes: Duration::ZERO,
    };
    match spawner.spawn_task(late) {
        Ok(_) => println!("a stopped spawner took a task"),
        Err(error) => println!("refused: {error}"),
    }
    Ok(())
}

/// What `main` has its tasks do.
async fn brew(task: Task) -> String {
    println!("{} starts", task.name);
    tokio::time::sleep(task.takes).await;
    println!("{} ends", task.name);
    format!("{} is ready", task.name)
}

/// One piece of work.
#[derive(Debug)]
pub(crate) struct Task {
    /// What it is called.
    pub(crate) name: String,
    /// How long it takes.
    pub(crate) takes: Duration,
}

/// Sends tasks to the actor. The actor ends when it is told to, or when the last clone of this is
/// dropped.
#[derive(Debug, Clone)]
pub(crate) struct TaskSpawner {
    /// The actor's queue. It closes when the actor stops.
    queue: mpsc::Sender<Message>,
}

/// The result of a task, some day.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Closes without a value if the task fails.
    result: oneshot::Receiver<String>,
}

/// Why there is no result.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SpawnerError {
    /// The actor has stopped and takes no more messages.
    #[error("the task spawner has stopped")]
    Stopped,

    /// The task was taken, and has panicked.
    #[error("the task has failed")]
    Failed,
}

/// What the actor understands.
#[derive(Debug)]
enum Message {
    /// Run a task and send what it returns.
    Run(Task, oneshot::Sender<String>),
    /// Take no more messages, finish those at hand, and end.
    Stop,
}

impl TaskSpawner {
    /// Starts an actor that runs `handle` for each task, for at most `active` tasks at once.
    ///
    /// Returns its address and its thread, which can be joined once the actor has been stopped.
    /// Fails if the operating system refuses the runtime or the thread.
    pub(crate) fn start<H, F>(active: u32, handle: H) -> io::Result<(TaskSpawner, JoinHandle<()>)>
    where
        H: Fn(Task) -> F + Clone + Send + 'static,
        F: Future<Output = String> + Send,
    {
        let (queue, inbox) = mpsc::channel(QUEUE);

        // Built here rather than on the new thread, so that a failure reaches the caller.
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let thread = thread::Builder::new()
            .name("task-spawner".to_owned())
            .spawn(move || runtime.block_on(act(inbox, active, handle)))?;

        Ok((TaskSpawner { queue }, thread))
    }

    /// Hands `task` to the actor, blocking while its queue is full.
    ///
    /// Fails with [`SpawnerError::Stopped`] if the actor no longer takes tasks.
    pub(crate) fn spawn_task(&self, task: Task) -> Result<Answer, SpawnerError> {
        let (answer, result) = oneshot::channel();
        self.send(Message::Run(task, answer))?;
        Ok(Answer { result })
    }

    /// Has the actor end after the tasks it has been given.
    ///
    /// Fails with [`SpawnerError::Stopped`] if it has stopped already.
    pub(crate) fn stop(&self) -> Result<(), SpawnerError> {
        self.send(Message::Stop)
    }

    fn send(&self, message: Message) -> Result<(), SpawnerError> {
        self.queue
            .blocking_send(message)
            .map_err(|_| SpawnerError::Stopped)
    }
}

impl Answer {
    /// Blocks until the task has ended and returns its result.
    ///
    /// Fails with [`SpawnerError::Failed`] if the task has panicked.
    pub(crate) fn wait(self) -> Result<String, SpawnerError> {
        self.result
            .blocking_recv()
            .map_err(|_| SpawnerError::Failed)
    }
}

/// The actor: takes messages from `inbox` until that is closed and empty, then waits for the tasks
/// that still run.
async fn act<H, F>(mut inbox: mpsc::Receiver<Message>, active: u32, handle: H)
where
    H: Fn(Task) -> F + Clone + Send + 'static,
    F: Future<Output = String> + Send,
{
    let permits = Arc::new(Semaphore::new(active as usize));

    while let Some(message) = inbox.recv().await {
        let (task, answer) = match message {
            Message::Run(task, answer) => (task, answer),
            // What was sent before the door closes is still received.
            Message::Stop => {
                inbox.close();
                continue;
            }
        };

        // Waiting here leaves the rest in the queue, and once that is full, holds up the senders.
        // The semaphore is never closed, so a permit always comes.
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
            return;
        };
        let handle = handle.clone();
        tokio::spawn(async move {
            // Called in here, so that a panic of the handler ends its task and not the actor.
            let work = handle(task);
            let result = work.await;
            // Whoever asked may have stopped waiting, which is their right.
            let _ = answer.send(result);
            drop(permit);
        });
    }

    // All permits are back when all tasks have ended, even those that panicked.
    let _ = permits.acquire_many(active).await;
}
