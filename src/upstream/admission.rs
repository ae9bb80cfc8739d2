//! What is checked before anything is sent: whether this upstream can take it, and whether there is room.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::bulky::Mark;
use super::classes::Class;
use super::{Outcome, Shared, Upstream, cache, embedded};
use crate::command::Command;
use crate::error::Error;

/// More commands than this in one request are many. They have to be content with what other such requests leave: one
/// client who sends as much as may be under way shall not turn away who sends little.
const FEW: usize = 100;

impl Upstream {
    /// Checks commands before they are sent, and counts them as under way for as long as the ticket lives.
    ///
    /// # Errors
    /// [`Error::Refused`] or [`Error::Unsupported`] for a command that this upstream cannot take, and
    /// [`Error::Full`] when too many are under way.
    pub fn admit(&self, commands: &[Command]) -> Result<Ticket, Error> {
        if self.embedded().is_some() {
            commands.iter().try_for_each(embedded::admit)?;
        }
        let count = commands.len();
        if count > self.shared.max_commands {
            let most = self.shared.max_commands;
            let message =
                format!("{count} commands are more than may be under way at all ({most})");
            return Err(Error::Refused(message));
        }
        let mark = self.shared.bulky.mark(commands);
        let under_way = self.shared.under_way(count);
        let before = under_way.fetch_add(count, Ordering::Relaxed);
        // From here on dropping the ticket takes the count back.
        let ticket = Ticket {
            shared: Arc::clone(&self.shared),
            count,
            mark,
            bulky: self.shared.bulky.is_bulky(mark, commands),
            _write: self.shared.begin_write(commands),
        };
        if before + count > self.shared.max_commands {
            return Err(Error::Full);
        }
        Ok(ticket)
    }

    /// How a command is to be sent, if at all.
    ///
    /// # Errors
    /// [`Error::Refused`] or [`Error::Unsupported`] for a command that this upstream cannot take.
    pub fn class(&self, command: &Command) -> Result<Class, Error> {
        if self.embedded().is_some() {
            embedded::admit(command)?;
            return Ok(Class::Pooled);
        }
        Ok(self.classes().of(command))
    }

    /// Checks a channel before it is subscribed to.
    ///
    /// # Errors
    /// [`Error::Refused`] for a name that this upstream cannot take.
    pub fn admit_channel(&self, channel: &[u8]) -> Result<(), Error> {
        match self.embedded() {
            Some(_) => embedded::admit_text("channel", channel),
            None => Ok(()),
        }
    }

    /// Checks that patterns can be subscribed to.
    ///
    /// # Errors
    /// [`Error::Unsupported`] where they cannot.
    pub fn admit_patterns(&self) -> Result<(), Error> {
        match self.embedded() {
            Some(_) => Err(embedded::unsupported("PSUBSCRIBE")),
            None => Ok(()),
        }
    }

    /// Checks that streams can be read.
    ///
    /// # Errors
    /// [`Error::Unsupported`] where they cannot.
    pub fn admit_streams(&self) -> Result<(), Error> {
        match self.embedded() {
            Some(_) => Err(embedded::unsupported("XREAD")),
            None => Ok(()),
        }
    }
}

impl Shared {
    /// The count for requests of so many commands.
    fn under_way(&self, count: usize) -> &AtomicUsize {
        let [few, many] = &self.under_way;
        if count > FEW { many } else { few }
    }

    /// Has the cache know of what these commands may write.
    fn begin_write(&self, commands: &[Command]) -> Option<cache::Write> {
        let cache = self.cache.as_ref()?;
        cache.begin_write(self.command_table.classes().written(commands))
    }
}

/// Commands under way; they are counted, and what they write is not read from the cache, until this is dropped.
/// That has to be after their replies, and before anybody is told of these.
#[derive(Debug)]
pub struct Ticket {
    shared: Arc<Shared>,
    count: usize,
    mark: Mark,
    bulky: bool,
    _write: Option<cache::Write>,
}

impl Ticket {
    /// Whether these commands, or what they are likely to bring, are so large that others should not wait behind them.
    pub(crate) fn is_bulky(&self) -> bool {
        self.bulky
    }

    /// Notes what came of the commands.
    pub(crate) fn note(&self, outcomes: &[Outcome]) {
        self.shared.bulky.note(self.mark, outcomes);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let under_way = self.shared.under_way(self.count);
        under_way.fetch_sub(self.count, Ordering::Relaxed);
    }
}
