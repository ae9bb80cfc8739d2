//! A Redis Cluster: commands go to the nodes that have their keys, each node gets its share of a pipeline, and
//! the replies are put together in order.
//!
//! Commands of one pipeline for the same node run in order; those for different nodes run at the same time. A
//! command is sent again only where a node says that it did not run it (`redirect`), and only to nodes that
//! belong to the Cluster by its own account.

mod errand;
mod redirect;
mod scout;
mod slot;
mod topology;
mod view;
mod ways;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::learned::Learned;
use super::node::{Line, Node};
use super::server::RedisServer;
use super::{Outcome, Packed};
use crate::command::Command;
use crate::config::Address;
use crate::error::Error;
use crate::reply::{Reply, ServerError};
use errand::{Errand, To, errands};
use redirect::{Redirect, Target};
use scout::Scout;
use view::{Member, View};
pub(super) use ways::Way;

/// How often a command is sent on at most.
const ROUNDS: u32 = 6;

/// How long to wait before the first further attempt, where a node says "later"; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(25);

/// How long a view that knows a node may be waited for.
const NEWS: Duration = Duration::from_secs(1);

/// A Cluster.
#[derive(Debug)]
pub(super) struct Cluster {
    learned: Arc<Learned>,
    view: watch::Receiver<Arc<View>>,
    /// How often the Cluster has been looked at.
    looks: watch::Receiver<u64>,
    /// Asks for a look.
    wishes: mpsc::Sender<()>,
}

/// What one node is sent, and whose each reply is. Replies of nobody are those to ASKING.
struct Parcel {
    member: Member,
    commands: Vec<Command>,
    whose: Vec<Option<usize>>,
}

impl Cluster {
    /// Starts the task that looks at the Cluster. The first look is over when [`Cluster::tried`] resolves.
    pub(super) fn start(
        server: Arc<RedisServer>,
        seeds: Vec<Address>,
        connect_timeout: Duration,
        learned: &Arc<Learned>,
    ) -> Self {
        let (tell_view, view) = watch::channel(Arc::default());
        let (tell_looks, looks) = watch::channel(0);
        // One wish is enough; more of them are dropped.
        let (wishes, heard) = mpsc::channel(1);
        let scout = Scout {
            server,
            seeds,
            connect_timeout,
            learned: Arc::clone(learned),
            view: tell_view,
            wishes: heard,
            nodes: HashMap::new(),
            first: 0,
        };
        tokio::spawn(scout.run(tell_looks));
        Self {
            learned: Arc::clone(learned),
            view,
            looks,
            wishes,
        }
    }

    /// Resolves when the Cluster has been looked for once.
    pub(super) async fn tried(&self) {
        // An error means that the task is gone, which shows at the first command.
        let _ = self.looks.clone().wait_for(|looks| *looks > 0).await;
    }

    fn view(&self) -> Arc<View> {
        Arc::clone(&self.view.borrow())
    }

    /// Has the Cluster looked at.
    fn wish(&self) {
        // Full: it will be.
        let _ = self.wishes.try_send(());
    }

    /// Waits for a look that begins after this call, for a while.
    async fn look(&self) {
        let mut looks = self.looks.clone();
        looks.mark_unchanged();
        let looked = async {
            // One may be under way; it is the one after it that counts.
            for _ in 0..2 {
                self.wish();
                if looks.changed().await.is_err() {
                    // There will be none.
                    return;
                }
            }
        };
        // An error means that it takes too long.
        let _ = tokio::time::timeout(NEWS, looked).await;
    }

    /// A name for the one node that all of these commands go to; `None` if there is no such node.
    pub(super) fn only_node(&self, commands: &[Command]) -> Option<usize> {
        let view = self.view();
        let mut names = errands(commands, &self.learned.classes())
            .into_iter()
            .map(|errand| {
                let member = errand.member(&view, commands)?;
                Some(Arc::as_ptr(&member.node).addr())
            });
        let first = names.next()??;
        names.all(|name| name == Some(first)).then_some(first)
    }

    /// Sends commands; gives one outcome for each, in the same order, within this time.
    pub(super) async fn send(
        &self,
        line: Line,
        commands: Vec<Command>,
        limit: Duration,
    ) -> Vec<Outcome> {
        let deadline = Instant::now() + limit;
        // The one by which cursors were read, whatever comes later.
        let first_view = self.view();
        let mut view = Arc::clone(&first_view);
        let mut outcomes = vec![Err(Error::Unreachable); commands.len()];
        let mut open = errands(&commands, &self.learned.classes());
        let mut round = 0;
        loop {
            self.round(line, &commands, &view, &mut open, deadline)
                .await;
            let last = round == ROUNDS || Instant::now() >= deadline;
            let mut again = Vec::new();
            for mut errand in open {
                match errand.redirected() {
                    Some(redirect) if !last => {
                        errand.redirect = Some(redirect);
                        again.push(errand);
                    }
                    _ => {
                        let places = errand.places.clone();
                        let done = errand.outcomes(&first_view, &commands);
                        for (place, outcome) in places.zip(done) {
                            outcomes[place] = outcome;
                        }
                    }
                }
            }
            if again.is_empty() {
                break;
            }
            let redirects = again.iter().filter_map(|errand| errand.redirect.as_ref());
            self.get_ready(redirects, round, deadline).await;
            (open, view) = (again, self.view());
            round += 1;
        }
        if outcomes.iter().any(Result::is_err) {
            self.wish();
        }
        outcomes
    }

    /// Sends every errand once, and collects the replies.
    async fn round(
        &self,
        line: Line,
        commands: &[Command],
        view: &View,
        open: &mut [Errand],
        deadline: Instant,
    ) {
        let mut parcels = Vec::new();
        for (at, errand) in open.iter_mut().enumerate() {
            errand.replies.clear();
            if let To::All(_) = errand.to {
                let all_there = view.masters().iter().all(|member| member.node.is_live());
                if all_there && !view.masters().is_empty() {
                    for member in view.masters() {
                        put(&mut parcels, member, (at, errand), view, commands, false);
                    }
                } else {
                    errand.replies.push(Err(Error::Unreachable));
                }
                continue;
            }
            match self.destination(errand, view, commands) {
                Ok((member, asking)) => {
                    put(&mut parcels, &member, (at, errand), view, commands, asking);
                }
                Err(outcome) => errand.take_unsent(outcome),
            }
        }
        let left = deadline.saturating_duration_since(Instant::now());
        let sent = parcels.into_iter().map(|parcel| async move {
            let packed = Packed::all(&parcel.commands);
            let replies = parcel.member.node.send(line, packed, left).await;
            (parcel.whose, replies)
        });
        for (whose, replies) in join_all(sent).await {
            for (whose, reply) in whose.into_iter().zip(replies) {
                if let Some(errand) = whose.and_then(|at| open.get_mut(at)) {
                    errand.replies.push(reply);
                }
            }
        }
        for errand in open {
            if let To::All(_) = errand.to {
                tell_half_done(&mut errand.replies);
            }
        }
    }

    /// The node that an errand for one node goes to now, and whether it has to be told ASKING; or what it comes
    /// to without.
    fn destination(
        &self,
        errand: &Errand,
        view: &View,
        commands: &[Command],
    ) -> Result<(Member, bool), Outcome> {
        // As a node would say.
        let refusal = |code, detail| Ok(Reply::Error(ServerError::new(code, detail)));
        if errand.to == To::Nowhere {
            let detail = "Keys in request don't hash to the same slot";
            return Err(refusal("CROSSSLOT", detail));
        }
        let own = errand.member(view, commands);
        let found = match &errand.redirect {
            None | Some(Redirect::Later) => own.map(|member| (member.clone(), false)),
            Some(Redirect::Moved(target)) => {
                let named = self.named(target, view).or(own);
                named.map(|member| (member.clone(), false))
            }
            Some(Redirect::Ask(target)) => {
                let named = self.named(target, view);
                named.map(|member| (member.clone(), true))
            }
        };
        match found {
            Some(found) => Ok(found),
            None if view.masters().is_empty() => Err(Err(Error::Unreachable)),
            None => Err(refusal("CLUSTERDOWN", "Hash slot not served")),
        }
    }

    /// The node that another one named, if it belongs to the Cluster. Nobody else is sent anything: a script
    /// can reply what it likes.
    fn named<'a>(&self, target: &Target, view: &'a View) -> Option<&'a Member> {
        let owner = &view.owner(target.slot)?.address;
        view.at(&target.seen_from(owner))
    }

    /// Waits until it makes sense to follow redirections.
    async fn get_ready<'a>(
        &self,
        redirects: impl Iterator<Item = &'a Redirect>,
        round: u32,
        deadline: Instant,
    ) {
        let (mut later, mut unknown) = (false, false);
        let view = self.view();
        for redirect in redirects {
            match redirect {
                Redirect::Later => later = true,
                Redirect::Moved(target) | Redirect::Ask(target) => {
                    unknown |= self.named(target, &view).is_none();
                }
            }
        }
        let ready = async {
            if unknown {
                self.look().await;
            } else {
                self.wish();
            }
            if later {
                tokio::time::sleep(FIRST_PAUSE * 2_u32.pow(round)).await;
            }
        };
        // An error means that time is up, which the caller sees.
        let _ = tokio::time::timeout_at(deadline, ready).await;
    }

    /// The nodes that have slots, and where they are.
    pub(super) fn nodes(&self) -> Vec<(String, Arc<Node>)> {
        let view = self.view();
        let nodes = view.masters().iter();
        nodes
            .map(|member| (member.address.to_string(), Arc::clone(&member.node)))
            .collect()
    }
}

/// Adds an errand to what a node is sent.
fn put(
    parcels: &mut Vec<Parcel>,
    member: &Member,
    (at, errand): (usize, &Errand),
    view: &View,
    commands: &[Command],
    asking: bool,
) {
    let same = |parcel: &Parcel| Arc::ptr_eq(&parcel.member.node, &member.node);
    let place = parcels.iter().position(same).unwrap_or_else(|| {
        parcels.push(Parcel {
            member: member.clone(),
            commands: Vec::new(),
            whose: Vec::new(),
        });
        parcels.len() - 1
    });
    let parcel = &mut parcels[place];
    if asking {
        parcel.commands.push(Command::new("ASKING"));
        parcel.whose.push(None);
    }
    for command in errand.worded(view, commands) {
        parcel.commands.push(command);
        parcel.whose.push(Some(at));
    }
}

/// Where a command for all nodes reached some, none can be told that nothing was done.
fn tell_half_done(replies: &mut [Outcome]) {
    let unsent = |reply: &Outcome| matches!(reply, Err(Error::Unreachable));
    if replies.iter().any(|reply| !unsent(reply)) {
        for reply in replies.iter_mut().filter(|reply| unsent(reply)) {
            *reply = Err(Error::BrokenOff);
        }
    }
}
