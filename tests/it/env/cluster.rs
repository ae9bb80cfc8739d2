//! A Redis Cluster of three masters, and perhaps a replica.

use super::{TestFolder, TestRedis, wait_until};

/// The Cluster; its servers are killed when it is dropped.
pub(crate) struct TestCluster {
    masters: Vec<TestRedis>,
    /// Of the first master.
    replica: Option<TestRedis>,
    /// The nodes keep their view of the Cluster in it.
    folder: TestFolder,
    args: Vec<String>,
}

const RANGES: [(&str, &str); 3] = [("0", "5460"), ("5461", "10922"), ("10923", "16383")];

impl TestCluster {
    /// Starts three masters with these arguments, and waits until all serve.
    pub(crate) fn start(args: &[&str]) -> Self {
        let mut cluster = Self {
            masters: Vec::new(),
            replica: None,
            folder: TestFolder::new(),
            args: args.iter().map(|arg| (*arg).to_owned()).collect(),
        };
        cluster.masters = RANGES.iter().map(|_| cluster.node()).collect();
        for (at, (master, (first, last))) in cluster.masters.iter().zip(RANGES).enumerate() {
            // Before they meet, or they would have to find out.
            let epoch = (at + 1).to_string();
            assert_eq!(master.cli(&["CLUSTER", "SET-CONFIG-EPOCH", &epoch]), "OK");
            let range = ["CLUSTER", "ADDSLOTSRANGE", first, last];
            assert_eq!(master.cli(&range), "OK");
        }
        for node in &cluster.masters[1..] {
            cluster.introduce(node);
        }
        for node in &cluster.masters {
            wait_until("the Cluster works", || {
                let info = node.cli(&["CLUSTER", "INFO"]);
                info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:3")
            });
        }
        cluster
    }

    /// The same with a replica of the first master.
    pub(crate) fn with_replica() -> Self {
        let mut cluster = Self::start(&[]);
        let replica = cluster.join();
        let id = cluster.masters[0].cli(&["CLUSTER", "MYID"]);
        wait_until("it knows its master", || {
            replica.cli(&["CLUSTER", "REPLICATE", &id]) == "OK"
        });
        wait_until("it has the data", || {
            replica.cli(&["ROLE"]).contains("connected")
        });
        cluster.replica = Some(replica);
        cluster
    }

    /// Starts a node without slots, and waits until all know it.
    pub(crate) fn join(&self) -> TestRedis {
        let node = self.node();
        self.introduce(&node);
        let id = node.cli(&["CLUSTER", "MYID"]);
        for master in &self.masters {
            wait_until("all know the new node", || {
                let nodes = master.cli(&["CLUSTER", "NODES"]);
                nodes
                    .lines()
                    .any(|line| line.starts_with(&id) && line.contains(" connected"))
            });
        }
        wait_until("it counts itself in", || {
            node.cli(&["CLUSTER", "INFO"]).contains("cluster_state:ok")
        });
        node
    }

    /// A node that knows no other.
    fn node(&self) -> TestRedis {
        let file = self.folder.path("nodes-{port}.conf");
        let own = [
            "--cluster-enabled",
            "yes",
            "--cluster-config-file",
            &file,
            "--cluster-node-timeout",
            "1000",
        ];
        let args = self.args.iter().map(String::as_str);
        TestRedis::with(&own.into_iter().chain(args).collect::<Vec<_>>())
    }

    /// Makes a node known to the first one.
    fn introduce(&self, node: &TestRedis) {
        let port = node.address().port().to_string();
        let meet = ["CLUSTER", "MEET", "127.0.0.1", &port];
        assert_eq!(self.masters[0].cli(&meet), "OK");
    }

    /// One of the first masters.
    pub(crate) fn master(&self, at: usize) -> &TestRedis {
        &self.masters[at]
    }

    /// The same, to be killed.
    pub(crate) fn master_mut(&mut self, at: usize) -> &mut TestRedis {
        &mut self.masters[at]
    }

    /// What takes the first master's place.
    pub(crate) fn replica(&self) -> &TestRedis {
        self.replica.as_ref().expect("it was started with one")
    }

    /// The URL for `--upstream`, with one seed.
    pub(crate) fn url(&self) -> String {
        format!("redis+cluster://{}", self.masters[0].address())
    }

    /// The slot of a key.
    pub(crate) fn slot(&self, key: &str) -> u16 {
        let slot = self.masters[0].cli(&["CLUSTER", "KEYSLOT", key]);
        slot.parse().unwrap()
    }

    /// Begins to move a slot from one node to another.
    pub(crate) fn begin_to_move(&self, slot: u16, from: &TestRedis, to: &TestRedis) {
        let slot = slot.to_string();
        let [source, target] = [from, to].map(|node| node.cli(&["CLUSTER", "MYID"]));
        let importing = ["CLUSTER", "SETSLOT", &slot, "IMPORTING", &source];
        assert_eq!(to.cli(&importing), "OK");
        let migrating = ["CLUSTER", "SETSLOT", &slot, "MIGRATING", &target];
        assert_eq!(from.cli(&migrating), "OK");
    }

    /// Moves a key of a slot that is being moved.
    pub(crate) fn move_key(&self, key: &str, from: &TestRedis, to: &TestRedis) {
        let port = to.address().port().to_string();
        let migrate = ["MIGRATE", "127.0.0.1", &port, key, "0", "5000"];
        assert_eq!(from.cli(&migrate), "OK");
    }

    /// Tells all masters that a slot has been moved.
    pub(crate) fn end_move(&self, slot: u16, to: &TestRedis) {
        let (slot, target) = (slot.to_string(), to.cli(&["CLUSTER", "MYID"]));
        for node in std::iter::once(to).chain(&self.masters) {
            assert_eq!(
                node.cli(&["CLUSTER", "SETSLOT", &slot, "NODE", &target]),
                "OK"
            );
        }
    }
}

/// A key for each of the first three masters.
pub(crate) const KEYS: [&str; 3] = ["b", "c", "a"];
