//! A master and its replica, with Sentinels that watch them.

use super::{TestAuthority, TestFolder, TestRedis, wait_until};

/// The group; its servers are killed when it is dropped.
pub(crate) struct TestGroup {
    servers: [TestRedis; 2],
    sentinels: Vec<TestRedis>,
    /// The Sentinels keep their configuration in it.
    _folder: TestFolder,
}

/// What keeps others out of a group.
#[derive(Default)]
pub(crate) struct Locks<'a> {
    /// Of the servers.
    pub(crate) password: Option<&'a str>,
    /// Of the Sentinels.
    pub(crate) sentinel_password: Option<&'a str>,
    /// All of them speak TLS only, with certificates of this one.
    pub(crate) authority: Option<&'a TestAuthority>,
}

impl TestGroup {
    /// Starts it and waits until every Sentinel knows all the others. The password is everybody's.
    pub(crate) fn start(sentinels: usize, password: Option<&str>) -> Self {
        let locks = Locks {
            password,
            sentinel_password: password,
            ..Locks::default()
        };
        Self::locked(sentinels, &locks)
    }

    /// The same with these locks.
    pub(crate) fn locked(sentinels: usize, locks: &Locks<'_>) -> Self {
        let tls = locks.authority.map(|authority| {
            let mut tls = authority.server_args();
            tls.extend(["--tls-replication", "yes"].map(str::to_owned));
            tls
        });
        let tls: Vec<_> = tls.iter().flatten().map(String::as_str).collect();
        let mut args = tls.clone();
        if let Some(password) = locks.password {
            args.extend(["--requirepass", password, "--masterauth", password]);
        }
        let master = TestRedis::with(&args);
        let port = master.address().port().to_string();
        args.extend(["--replicaof", "127.0.0.1", &port]);
        let replica = TestRedis::with(&args);
        wait_until("the replica has the data", || {
            replica.cli(&["ROLE"]).contains("connected")
        });
        let folder = TestFolder::new();
        let quorum = sentinels / 2 + 1;
        let mut configuration = format!(
            "dir /tmp\nsentinel monitor main 127.0.0.1 {port} {quorum}\n\
             sentinel down-after-milliseconds main 1000\nsentinel failover-timeout main 2000\n"
        );
        let mut args = tls;
        if let Some(password) = locks.password {
            configuration += &format!("sentinel auth-pass main {password}\n");
        }
        if let Some(password) = locks.sentinel_password {
            configuration += &format!("sentinel sentinel-pass {password}\n");
            args.extend(["--requirepass", password]);
        }
        let sentinels: Vec<_> = (0..sentinels)
            .map(|n| {
                let file = folder.write(&format!("{n}.conf"), &configuration);
                TestRedis::sentinel(&file, &args)
            })
            .collect();
        for sentinel in &sentinels {
            // As if time went faster, but for how long an old master is left alone after a failover.
            for setting in ["ping-period", "info-period", "ask-period"] {
                sentinel.cli(&["SENTINEL", "DEBUG", setting, "200"]);
            }
        }
        let others = (sentinels.len() - 1).to_string();
        for sentinel in &sentinels {
            wait_until("all know each other", || {
                let told = sentinel.cli(&["SENTINEL", "MASTER", "main"]);
                let value = |name: &str| {
                    let mut lines = told.lines().skip_while(|line| *line != name);
                    lines.nth(1).unwrap_or_default().to_owned()
                };
                value("num-slaves") == "1" && value("num-other-sentinels") == others
            });
        }
        Self {
            servers: [master, replica],
            sentinels,
            _folder: folder,
        }
    }

    /// Has every Sentinel carry out a command.
    pub(crate) fn tell_sentinels(&self, command: &[&str]) {
        for sentinel in &self.sentinels {
            assert_eq!(sentinel.cli(command), "OK");
        }
    }

    /// The hosts and ports of the Sentinels, as a URL has them.
    pub(crate) fn sentinels(&self) -> String {
        let addresses = self.sentinels.iter().map(|s| s.address().to_string());
        addresses.collect::<Vec<_>>().join(",")
    }

    /// The first master and its first replica.
    pub(crate) fn servers(&self) -> &[TestRedis; 2] {
        &self.servers
    }

    /// Where the Sentinels say that the master is.
    pub(crate) fn master(&self) -> &TestRedis {
        let answer = self.ask("GET-MASTER-ADDR-BY-NAME");
        let port = answer.lines().nth(1).unwrap().to_owned();
        let named = |server: &&TestRedis| server.address().port().to_string() == port;
        self.servers.iter().find(named).unwrap()
    }

    /// Something that the first Sentinel is asked about the group.
    fn ask(&self, what: &str) -> String {
        self.sentinels[0].cli(&["SENTINEL", what, "main"])
    }

    /// Has the Sentinels make the replica the master and the master a replica.
    pub(crate) fn fail_over(&self) {
        let old = self.master().address();
        wait_until("the failover begins", || self.ask("FAILOVER") == "OK");
        wait_until("there is a new master", || self.master().address() != old);
    }

    /// Kills the master, and waits until the Sentinels have put the replica in its place.
    pub(crate) fn lose_master(&mut self) {
        let old = self.master().address();
        let master = self.servers.iter_mut().find(|s| s.address() == old);
        master.unwrap().kill();
        wait_until("there is a new master", || self.master().address() != old);
    }
}
