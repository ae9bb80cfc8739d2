//! What has been learned of the server's commands, anew with every connection.

use std::sync::{Arc, PoisonError, RwLock};

use super::classes::Classes;
use crate::reply::Reply;

/// The server's commands as it told of them last.
#[derive(Debug)]
pub(super) struct CommandTable {
    /// Commands that are allowed although they are dangerous.
    allowed: Vec<String>,
    classes: RwLock<Arc<Classes>>,
}

impl CommandTable {
    /// Nothing, as long as no server has told.
    pub(super) fn nothing(allowed: Vec<String>) -> Arc<Self> {
        let classes = RwLock::new(Arc::new(Classes::unknown(allowed.clone())));
        Arc::new(Self { allowed, classes })
    }

    /// Takes a reply to COMMAND.
    pub(super) fn learn(&self, reply: &Reply) {
        let classes = Arc::new(Classes::from_reply(reply, self.allowed.clone()));
        *self.classes.write().unwrap_or_else(PoisonError::into_inner) = classes;
    }

    /// What is known at the moment.
    pub(super) fn classes(&self) -> Arc<Classes> {
        let classes = self.classes.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&classes)
    }
}
