//! A server in a process of its own: started, waited for, measured, ended.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// By when a server has to listen.
const PATIENCE: Duration = Duration::from_secs(20);

/// A server process and those that it starts; ended when dropped.
pub(crate) struct Process {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Process {
    /// Starts a server that is told to listen on this address, and waits until it does.
    pub(crate) fn start(command: &mut Command, address: SocketAddr) -> Self {
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let mut process = Self { child, address };
        let by = Instant::now() + PATIENCE;
        while TcpStream::connect(address).is_err() {
            if let Some(status) = process.child.try_wait().unwrap() {
                panic!("{command:?} ended: {status}");
            }
            assert!(Instant::now() < by, "{command:?} does not listen");
            thread::sleep(Duration::from_millis(1));
        }
        process
    }

    /// The processor time that its threads have used, its children's included. A thread that has ended does not
    /// count any more; none of the servers here ends threads while it is measured.
    pub(crate) fn processor_time(&self) -> Duration {
        let tasks = self.all().into_iter().flat_map(tasks);
        Duration::from_nanos(tasks.map(nanoseconds).sum())
    }

    /// Resident memory in bytes, its children's included.
    pub(crate) fn memory(&self) -> u64 {
        let of = |pid: &u32| status(*pid, "VmRSS:") * 1024;
        self.all().iter().map(of).sum()
    }

    /// Open descriptors, its children's included.
    pub(crate) fn descriptors(&self) -> usize {
        let of = |pid: &u32| fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
        self.all().iter().map(of).sum()
    }

    /// How often its threads have been put to sleep or interrupted.
    pub(crate) fn context_switches(&self) -> u64 {
        let of =
            |id| status(id, "voluntary_ctxt_switches:") + status(id, "nonvoluntary_ctxt_switches:");
        tasks(self.child.id()).into_iter().map(of).sum()
    }

    /// Its number, and those of its children.
    fn all(&self) -> Vec<u32> {
        let own = self.child.id();
        let children = fs::read_to_string(format!("/proc/{own}/task/{own}/children"));
        let children = children.unwrap_or_default();
        let children = children.split_whitespace().filter_map(|id| id.parse().ok());
        [own].into_iter().chain(children).collect()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        // A master ends its workers when it is asked to, not when it is killed.
        let _ = Command::new("kill")
            .arg(self.child.id().to_string())
            .status();
        let by = Instant::now() + Duration::from_secs(3);
        while Instant::now() < by {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            thread::sleep(Duration::from_millis(5));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The threads of a process.
fn tasks(pid: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let ids = tasks.filter_map(|task| task.ok()?.file_name().to_str()?.parse().ok());
    ids.collect()
}

/// How long a thread has run.
fn nanoseconds(task: u32) -> u64 {
    // A thread may end between being named and being looked at.
    let stat = fs::read_to_string(format!("/proc/{task}/schedstat")).unwrap_or_default();
    let field = stat.split(' ').next();
    field.and_then(|field| field.parse().ok()).unwrap_or(0)
}

fn status(pid: u32, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.unwrap_or(0)
}

/// An address of loopback that is free at this moment.
pub(crate) fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}
