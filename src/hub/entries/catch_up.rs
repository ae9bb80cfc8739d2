//! Reading up on what a subscriber has missed, page by page, to where the stream is read for all.
//!
//! A page is read when the one before has gone out to the subscriber: a slow one is waited for, and nothing is
//! piled up for it. Nothing is read beyond where the reading for all is: that part comes to everybody.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

use super::looks::{Look, look_at, read_state, state_of};
use super::xinfo::{Presence, State};
use super::{Entry, EntryId, FIRST_AT_ONCE, Loss, PAGE, Reason, at_once, parse_all};
use crate::command::Command;
use crate::hub::SubscriberId;
use crate::reply::{Reply, ServerError};
use crate::upstream::{Upstream, reconnect_pauses};

/// How long a subscriber that comes from a gateway which has read further is waited with.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// A subscriber that is catching up.
pub(in crate::hub) struct CatchUp {
    pub(in crate::hub) subscriber: SubscriberId,
    pub(in crate::hub) key: Bytes,
    /// The last entry that the subscriber has seen.
    pub(in crate::hub) seen: EntryId,
    /// Whether something may be missing behind that one, rather than before where it chose to begin.
    pub(in crate::hub) must_be_complete: bool,
    /// Whether it ends when the stream is gone.
    pub(in crate::hub) until_gone: bool,
    /// Where the reading for all is.
    pub(in crate::hub) end: watch::Receiver<EntryId>,
    pub(in crate::hub) upstream: Upstream,
    pub(in crate::hub) pages: mpsc::Sender<Page>,
    /// Bounds how many pages are read at the same time.
    pub(in crate::hub) readers: Arc<Semaphore>,
}

/// Something to catch up with.
#[derive(Debug)]
pub(in crate::hub) struct Page {
    pub(in crate::hub) subscriber: SubscriberId,
    pub(in crate::hub) entries: Vec<Entry>,
    /// Entries that may be missing, and how many of the page's come before them.
    pub(in crate::hub) loss: Option<(usize, Loss)>,
    /// With this page the subscriber has everything up to here.
    pub(in crate::hub) covered: EntryId,
    /// To be told when the page has gone out; dropped, nothing more is read.
    pub(in crate::hub) gone_out: oneshot::Sender<()>,
    /// Set if the stream cannot be read.
    pub(in crate::hub) refused: Option<ServerError>,
    /// Set if it is gone, which ends who listens until then.
    pub(in crate::hub) is_gone: bool,
}

/// What Redis has said of a stream.
struct Found {
    /// Where the reading for all was before Redis was asked.
    end_before: EntryId,
    /// The entries behind the one that was seen.
    entries: Vec<Entry>,
    /// Whether the one that was seen is still there.
    is_present: bool,
    /// Whether there are no more entries than these.
    is_end: bool,
    state: State,
}

impl CatchUp {
    /// Runs until it is told to end.
    pub(in crate::hub) async fn run(mut self) {
        let mut count = FIRST_AT_ONCE;
        let mut pauses = reconnect_pauses();
        loop {
            let (gone_out, goes_on) = oneshot::channel();
            let page = match self.read(&mut count, gone_out).await {
                Some(page) => page,
                None => {
                    // Redis is away, or busy with itself. The pauses never end.
                    tokio::time::sleep(pauses.next().unwrap_or_default()).await;
                    continue;
                }
            };
            pauses = reconnect_pauses();
            if self.pages.send(page).await.is_err() || goes_on.await.is_err() {
                return;
            }
        }
    }

    /// Reads the next page. `None` if that has to be tried again.
    async fn read(&mut self, count: &mut usize, gone_out: oneshot::Sender<()>) -> Option<Page> {
        let mut page = Page {
            subscriber: self.subscriber,
            entries: Vec::new(),
            loss: None,
            covered: self.seen,
            gone_out,
            refused: None,
            is_gone: false,
        };
        let found = match self.ask(count).await? {
            Ok(found) => found,
            Err(refused) => {
                page.refused = Some(refused);
                return Some(page);
            }
        };
        if self.until_gone && found.state.presence == Presence::Absent {
            match self.look_again().await?.presence {
                // It has been begun anew.
                Presence::There => return None,
                Presence::Absent => {}
                Presence::Gone => return Some(self.last(page, found)),
            }
        }
        let loss = found.state.loss_behind(self.seen, found.is_present);
        let loss = loss.filter(|_| self.must_be_complete);
        self.must_be_complete = true;
        if let Some(loss) = loss.filter(|loss| loss.up_to < self.seen) {
            // What was read is of another stream than what was seen; it is read again from there.
            self.seen = loss.up_to;
            self.must_be_complete = false;
            page.covered = loss.up_to;
            page.loss = Some((0, loss));
            return Some(page);
        }
        if self.seen > found.end_before && !self.is_reached().await {
            return None;
        }
        Some(self.fill(page, found, loss))
    }

    /// Asks Redis for entries behind the one that was seen, and for the state of the stream; an error is Redis' refusal.
    /// `None` if there is no answer to either. `count` is how many entries to ask for, and becomes how many the next time.
    async fn ask(&self, count: &mut usize) -> Option<Result<Found, ServerError>> {
        let permit = Arc::clone(&self.readers).acquire_owned().await.ok()?;
        let end_before = self.end();
        // The entry that was seen is read again, to know that it is still there; the state is asked for
        // afterwards, so that whatever was gone before shows in it.
        let range = Command::with_capacity("XRANGE", 5)
            .arg(self.key.clone())
            .arg(self.seen.to_string())
            .arg("+")
            .arg("COUNT")
            .number(*count as u64 + 1);
        let outcomes = self.upstream.send(&[range, state_of(&self.key)]).await;
        drop(permit);
        let mut outcomes = outcomes.into_iter();
        let (range, state) = (outcomes.next()?, outcomes.next()?);
        let state = match read_state(state) {
            Ok(state) => state,
            Err(refused) => return refused.map(Err),
        };
        let (mut entries, bytes) = match range {
            Ok(reply @ Reply::Array(_)) => parse_all(&reply)?,
            _ => return None,
        };
        let is_end = entries.len() <= *count;
        *count = at_once(PAGE, entries.len(), bytes);
        let is_present = entries.first().is_some_and(|first| first.id == self.seen);
        if is_present {
            entries.remove(0);
        }
        Some(Ok(Found {
            end_before,
            entries,
            is_present,
            is_end,
            state,
        }))
    }

    /// Fills a page with what was found, as far as the stream has been read for all.
    fn fill(&mut self, page: Page, found: Found, loss: Option<Loss>) -> Page {
        let Found {
            end_before,
            mut entries,
            is_end,
            ..
        } = found;
        let end = self.end();
        let within = entries.partition_point(|entry| entry.id <= end);
        let covered = if within < entries.len() {
            end
        } else {
            let last = entries.last().map_or(self.seen, |last| last.id);
            // At the end of the stream there is nothing more of what had been read for all before.
            if is_end { last.max(end_before) } else { last }
        };
        entries.truncate(within);
        let loss = loss.map(|loss| {
            let place = entries.partition_point(|entry| entry.id <= loss.up_to);
            (place, loss)
        });
        // What is missing further on shows when that is read.
        let loss = loss.filter(|(place, _)| *place < entries.len() || is_end);
        let last = entries.last().map_or(self.seen, |last| last.id);
        self.seen = match &loss {
            Some((_, loss)) => last.max(loss.up_to.min(end)),
            None => last,
        };
        Page {
            entries,
            loss,
            covered,
            ..page
        }
    }

    /// Finds out whether a stream that is absent is gone.
    async fn look_again(&self) -> Option<State> {
        let look = Look {
            key: self.key.clone(),
            asked_at: self.seen,
            until_gone: true,
            checks: Vec::new(),
        };
        let seen = look_at(&self.upstream, &[look]).await;
        seen.into_iter().next()?.ok()
    }

    /// The last page of a stream that is gone: what was read of it. Whether anything was missing before that cannot
    /// be asked any more.
    fn last(&self, page: Page, found: Found) -> Page {
        let Found {
            entries,
            is_present,
            is_end,
            ..
        } = found;
        let first = entries.first().map(|first| first.id.before());
        let loss = first.filter(|_| self.must_be_complete && !is_present);
        let last = entries.last().map_or(self.seen, |last| last.id);
        let is_complete = is_end && (is_present || !entries.is_empty());
        Page {
            loss: loss.map(|up_to| (0, Loss::new(Reason::NotKept, up_to))),
            covered: if is_complete {
                last.max(self.end())
            } else {
                last
            },
            entries,
            is_gone: true,
            ..page
        }
    }

    /// Waits until the reading for all is where the subscriber is; not for long, as the stream may be begun
    /// anew.
    async fn is_reached(&mut self) -> bool {
        let seen = self.seen;
        let reached = self.end.wait_for(|end| *end >= seen);
        let reached = tokio::time::timeout(LONGEST_WAIT, reached).await;
        reached.is_ok_and(|reached| reached.is_ok())
    }

    fn end(&self) -> EntryId {
        *self.end.borrow()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::harness::nowhere;

    fn id(n: u64) -> EntryId {
        EntryId::parse(n.to_string().as_bytes()).expect("an id")
    }

    #[tokio::test]
    async fn the_last_page_claims_no_more_than_was_read() {
        let upstream = Upstream::start(&nowhere()).await;
        let mut catch_up = CatchUp {
            subscriber: 1,
            key: Bytes::new(),
            seen: id(3),
            must_be_complete: true,
            until_gone: true,
            end: watch::channel(id(9)).1,
            upstream: upstream.expect("it may come later"),
            pages: mpsc::channel(1).0,
            readers: Arc::new(Semaphore::new(1)),
        };
        for (is_owed, numbers, is_present, is_end, loss, covered) in [
            (true, &[4, 5][..], true, true, None, 9),
            (true, &[4, 5], true, false, None, 5),
            (true, &[5, 6], false, true, Some(id(5).before()), 9),
            (false, &[5, 6], false, true, None, 9),
            (true, &[], true, true, None, 9),
            (true, &[], false, true, None, 3),
        ] {
            catch_up.must_be_complete = is_owed;
            let page = Page {
                subscriber: 1,
                entries: Vec::new(),
                loss: None,
                covered: id(3),
                gone_out: oneshot::channel().0,
                refused: None,
                is_gone: false,
            };
            let entry = |n: &u64| Entry {
                id: id(*n),
                fields: Bytes::new(),
            };
            let found = Found {
                end_before: id(9),
                entries: numbers.iter().map(entry).collect(),
                is_present,
                is_end,
                state: State::default(),
            };
            let page = catch_up.last(page, found);
            assert!(page.is_gone);
            assert_eq!(page.loss.map(|(_, loss)| loss.up_to), loss, "{numbers:?}");
            assert_eq!(page.covered, id(covered), "{numbers:?}");
        }
    }
}
