//! Where commands go. It is found out once: by it those of several clients are put together, and sent.

use super::NodeNumber;
use super::cluster::Errand;

/// Where commands go.
#[derive(Debug, Default)]
pub(crate) struct Route {
    /// The one node that all of them go to; `None` if there are several, or none. What goes to one node does not wait for
    /// another.
    pub(super) node: Option<NodeNumber>,
    /// On a Cluster, what they come to.
    pub(super) errands: Vec<Errand>,
}

impl Route {
    /// That of commands which all go to this node.
    pub(super) fn to(node: NodeNumber) -> Self {
        Self {
            node: Some(node),
            errands: Vec::new(),
        }
    }

    pub(crate) fn node(&self) -> Option<NodeNumber> {
        self.node
    }

    /// Takes up that of further commands for the same node, which come behind so many.
    pub(crate) fn append(&mut self, count: usize, further: Self) {
        let further = further.errands.into_iter();
        self.errands
            .extend(further.map(|errand| errand.behind(count)));
    }
}
