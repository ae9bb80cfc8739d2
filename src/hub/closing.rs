//! The end of all streams, and of the hub with them.

use tokio::sync::{mpsc, oneshot};

use super::Message;
use super::actor::Actor;

impl Actor {
    /// Ends whatever streams are left, and says so to whoever had it done.
    pub(super) async fn end(
        mut self,
        mut mailbox: mpsc::Receiver<Message>,
        closing: Option<oneshot::Sender<()>>,
    ) {
        mailbox.close();
        // Those who came at the last moment get their heads, and an end.
        while let Some(message) = mailbox.recv().await {
            if let Message::Join(subscription) = message {
                self.join(subscription);
            }
        }
        let fanout = self.fanout;
        let ended = tokio::task::spawn_blocking(move || fanout.join());
        if let Err(error) = ended.await {
            tracing::error!(%error, "the fan-out was not waited for");
        }
        // Whoever asked may have given up.
        let _ = closing.map(|done| done.send(()));
    }
}
