//! How a command that waits is ended as if its time were up: by
//! [CLIENT UNBLOCK](https://redis.io/docs/latest/commands/client-unblock/), over the connection that all share.
//!
//! To close its connection would end it too, but what it takes at that moment would be lost.

use std::time::Duration;

use bytes::Bytes;
use redis::Value;
use redis::aio::MultiplexedConnection;

use super::node::{Line, Node};
use super::resp_encode::Packed;
use crate::command::Command;
use crate::reply::Reply;

/// Before it is tried again with a command that does not wait yet.
const PAUSE: Duration = Duration::from_millis(50);

/// How a server knows one of its clients.
pub(super) struct Identity {
    id: Bytes,
    /// From where to where it is connected. Another server, behind a proxy or after a failover, may have a client of the
    /// same id, but not that.
    place: Bytes,
}

impl Identity {
    /// Asks who one's own connection is there. `None` where that is not told: before Redis 6.2, or without the right.
    pub(super) async fn ask(mut connection: MultiplexedConnection) -> Option<Self> {
        let question = redis::cmd("CLIENT").arg("INFO").take();
        match connection.send_packed_command(&question).await {
            Ok(Value::BulkString(line)) => Self::parse(&line.into()),
            _ => None,
        }
    }

    /// Of a line such as `id=7 addr=10.0.0.1:40312 laddr=10.0.0.2:6379 fd=8 name= age=0 …`.
    fn parse(line: &Bytes) -> Option<Self> {
        let place = line.slice(..memchr::memmem::find(line, b" name=")?);
        let id = memchr::memchr(b' ', &place)?;
        Some(Self {
            id: place.slice("id=".len()..id),
            place,
        })
    }

    /// Ends what it waits for, once it does. False if that cannot be done.
    pub(super) async fn unblock(&self, node: &Node, limit: Duration) -> bool {
        let ask = async |command: &Command| {
            let outcomes = node.send(Line::Common, Packed::one(command), limit).await;
            outcomes.into_iter().next().and_then(Result::ok)
        };
        let list = client("LIST").arg("ID").arg(self.id.clone());
        let unblock = client("UNBLOCK").arg(self.id.clone()).arg("TIMEOUT");
        while let Some(Reply::Bulk(line)) = ask(&list).await
            && line.starts_with(&self.place)
            && let Some(Reply::Int(count)) = ask(&unblock).await
        {
            if count > 0 {
                return true;
            }
            tokio::time::sleep(PAUSE).await;
        }
        false
    }
}

fn client(subcommand: &'static str) -> Command {
    Command::new("CLIENT").arg(subcommand)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_known_by_its_id_and_by_where_it_is() {
        let line = "id=7 addr=10.0.0.1:40312 laddr=10.0.0.2:6379 fd=8 name= age=0";
        let identity = Identity::parse(&line.into()).expect("a client");
        assert_eq!(identity.id, "7");
        let place = "id=7 addr=10.0.0.1:40312 laddr=10.0.0.2:6379 fd=8";
        assert_eq!(identity.place, place);
        for line in ["", " name=", "id=7", "id=7 name="] {
            assert!(Identity::parse(&line.into()).is_none(), "{line}");
        }
    }
}
