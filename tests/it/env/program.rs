//! The program itself, in a process of its own.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};

use super::{Client, wait_until};

/// The program, listening; killed when dropped.
pub(crate) struct Program {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Program {
    /// Starts it on a free port with these arguments.
    pub(crate) fn start(args: &[&str]) -> Self {
        Self::spawn(
            Command::new(Self::path())
                .args(["--listen", "127.0.0.1:0"])
                .args(args),
        )
    }

    /// Starts it with a limit of open files.
    pub(crate) fn start_with_files(files: u32, args: &[&str]) -> Self {
        let script = format!("ulimit -n {files}; exec \"$0\" --listen 127.0.0.1:0 \"$@\"");
        Self::spawn(
            Command::new("bash")
                .args(["-c", &script, Self::path()])
                .args(args),
        )
    }

    /// Starts a command that becomes the program.
    pub(crate) fn spawn(command: &mut Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        let address = line.trim_end().strip_prefix("listening on http://");
        let address = address.unwrap_or_else(|| panic!("it did not start: {line:?}"));
        Self {
            address: address.parse().unwrap(),
            child,
        }
    }

    pub(crate) fn path() -> &'static str {
        env!("CARGO_BIN_EXE_redis-http-gateway")
    }

    pub(crate) fn connect(&self) -> Client {
        Client::connect(self.address)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Sends a signal, such as `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args(["-s", name, &self.pid().to_string()])
            .status();
        assert!(status.unwrap().success());
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let mut ended = None;
        wait_until("the program ends", || {
            ended = self.child.try_wait().unwrap();
            ended.is_some()
        });
        ended.unwrap()
    }

    pub(crate) fn threads(&self) -> usize {
        fs::read_dir(format!("/proc/{}/task", self.pid()))
            .unwrap()
            .count()
    }

    pub(crate) fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.pid()))
            .unwrap()
            .count()
    }

    /// Resident memory, in KiB.
    pub(crate) fn memory(&self) -> usize {
        let mut status = String::new();
        let mut file = fs::File::open(format!("/proc/{}/status", self.pid())).unwrap();
        file.read_to_string(&mut status).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.unwrap()
            .trim()
            .trim_end_matches(" kB")
            .parse()
            .unwrap()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
