//! A process that is measured: what it takes, with its children.

use std::fs;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

/// Ended when dropped, its children with it.
pub(crate) struct Process {
    child: Child,
}

impl Process {
    pub(crate) fn spawn(command: &mut Command) -> Self {
        let child = command.stdin(Stdio::null()).spawn().unwrap();
        Self { child }
    }

    pub(crate) fn stdout(&mut self) -> ChildStdout {
        self.child.stdout.take().unwrap()
    }

    /// The processor time of all its threads.
    pub(crate) fn cpu(&self) -> Duration {
        let of = |pid: u32| -> u64 {
            let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
            // A thread may end between being named and being looked at.
            let stats = tasks.filter_map(|task| {
                let stat = fs::read_to_string(task.unwrap().path().join("schedstat"));
                stat.ok()?.split(' ').next()?.parse::<u64>().ok()
            });
            stats.sum()
        };
        Duration::from_nanos(self.pids().into_iter().map(of).sum())
    }

    /// Resident memory, in bytes.
    pub(crate) fn memory(&self) -> usize {
        let of = |pid: u32| -> usize {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
            let kib: usize = line
                .unwrap()
                .trim()
                .trim_end_matches(" kB")
                .parse()
                .unwrap();
            kib * 1024
        };
        self.pids().into_iter().map(of).sum()
    }

    pub(crate) fn descriptors(&self) -> usize {
        let of = |pid: u32| fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
        self.pids().into_iter().map(of).sum()
    }

    fn pids(&self) -> Vec<u32> {
        let pid = self.child.id();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        let children = children.split_whitespace().map(|pid| pid.parse().unwrap());
        std::iter::once(pid).chain(children).collect()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // A killed nginx would leave its worker behind.
        let pid = self.child.id().to_string();
        let _ = Command::new("kill").args(["-s", "TERM", &pid]).status();
        let _ = self.child.wait();
    }
}
