//! Commands on their way: over which connection, and to which nodes of a Cluster.

use std::future::Future;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::{Either, join_all};

use super::cluster::{Cluster, Dispatch};
use super::node::Line;
use super::pipe::Pump;
use super::sent::Sent;
use super::{Engine, Outcome, Packed, Route, Upstream};
use crate::command::Command;
use crate::reply::Reply;

impl Upstream {
    /// Sends commands as one pipeline, in order, over the shared connection; gives one outcome for each, in
    /// the same order. The commands have been admitted before.
    ///
    /// The deadline is inside: the future ends within the command time-out.
    pub fn send(
        &self,
        commands: &[Command],
    ) -> impl Future<Output = Vec<Outcome>> + Send + 'static {
        self.send_over(Line::Common, commands)
    }

    /// The same for the commands of several clients: none waits until those of others have been sent on, as
    /// those of a Cluster may be.
    pub(crate) fn send_together(
        &self,
        commands: Vec<Command>,
        route: Route,
    ) -> (Pump, impl Future<Output = Sent> + Send + 'static + use<>) {
        match &self.shared.engine {
            Engine::One(node) => {
                let limit = self.shared.command_timeout;
                let packed = Packed::all(&commands);
                let (pump, outcomes) = node.send_pumped(Line::Common, packed, limit);
                (pump, Either::Left(outcomes.map(Sent::done)))
            }
            Engine::Cluster(cluster) => {
                let dispatch = self.dispatch(cluster, Line::Common, commands, route);
                let (pump, begun) = dispatch.begin();
                (pump, Either::Right(begun.map(Sent::part)))
            }
        }
    }

    fn dispatch(
        &self,
        cluster: &Arc<Cluster>,
        line: Line,
        commands: Vec<Command>,
        route: Route,
    ) -> Dispatch {
        let deadline = tokio::time::Instant::now() + self.shared.command_timeout;
        Dispatch::new(cluster, line, commands, route, deadline)
    }

    /// The same over the connection for scripts.
    pub fn send_guarded(
        &self,
        commands: &[Command],
    ) -> impl Future<Output = Vec<Outcome>> + Send + 'static {
        self.send_over(Line::Guarded, commands)
    }

    /// The same over the connection for what is large.
    pub(crate) fn send_bulky(
        &self,
        commands: &[Command],
    ) -> impl Future<Output = Vec<Outcome>> + Send + 'static {
        self.send_over(Line::Bulky, commands)
    }

    fn send_over(
        &self,
        line: Line,
        commands: &[Command],
    ) -> impl Future<Output = Vec<Outcome>> + Send + 'static {
        let limit = self.shared.command_timeout;
        match &self.shared.engine {
            Engine::One(node) => Either::Left(node.send(line, Packed::all(commands), limit)),
            Engine::Cluster(cluster) => {
                let route = cluster.route(commands);
                let dispatch = self.dispatch(cluster, line, commands.to_vec(), route);
                let (pump, begun) = dispatch.begin();
                // No thread waits here.
                drop(pump);
                Either::Right(begun.then(Dispatch::finish))
            }
        }
    }

    /// Where these commands go.
    pub(crate) fn route(&self, commands: &[Command]) -> Route {
        match &self.shared.engine {
            Engine::One(node) => Route::to(node.number),
            Engine::Cluster(cluster) => cluster.route(commands),
        }
    }

    /// Asks every node of a Cluster for a sign of life: a list of lists, of each node's address and its reply,
    /// which is nil if it gave none within the command time-out. Of one server the list is empty.
    pub fn probe_nodes(&self) -> impl Future<Output = Reply> + Send + 'static {
        let nodes = match &self.shared.engine {
            Engine::One(_) => Vec::new(),
            Engine::Cluster(cluster) => cluster.nodes(),
        };
        let (probe, limit) = (self.probe(), self.shared.command_timeout);
        async move {
            let asked = nodes.into_iter().map(|(address, node)| {
                let packed = Packed::one(&probe);
                async move {
                    let outcomes = node.send(Line::Common, packed, limit).await;
                    let reply = outcomes.into_iter().next().and_then(Result::ok);
                    let address = Reply::Bulk(address.into());
                    Reply::Array(vec![address, reply.unwrap_or(Reply::Nil)])
                }
            });
            Reply::Array(join_all(asked).await)
        }
    }
}
