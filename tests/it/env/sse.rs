//! An EventSource of the tests: reads an event stream as the HTML standard says, 9.2.6.

use std::net::SocketAddr;

use super::{Answer, Client};

/// An open event stream.
pub(crate) struct EventStream {
    client: Client,
    pub(crate) head: Answer,
    text: String,
    /// The last id that came, dispatched or not.
    pub(crate) last_id: String,
    /// The last `retry` that came.
    pub(crate) retry: Option<u64>,
    ended: bool,
}

/// A dispatched event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) data: String,
}

impl EventStream {
    /// Opens a stream, and waits for its head.
    pub(crate) fn open(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Self {
        let mut client = Client::connect(address);
        client.send_request("GET", path, headers, b"");
        Self::of(client)
    }

    /// The stream that a request has been sent for.
    pub(crate) fn of(mut client: Client) -> Self {
        let head = client.receive_head();
        assert_eq!(head.status, 200, "{head:?}");
        assert_eq!(head.header("content-type"), Some("text/event-stream"));
        Self {
            client,
            head,
            text: String::new(),
            last_id: String::new(),
            retry: None,
            ended: false,
        }
    }

    /// The next event; `None` at the end of the stream.
    pub(crate) fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(end) = self.text.find("\n\n") {
                let block = self.text[..=end].to_owned();
                self.text.drain(..end + 2);
                if let Some(event) = self.interpret(&block) {
                    return Some(event);
                }
                continue;
            }
            if !self.receive() {
                return None;
            }
        }
    }

    /// The next event, which has to come.
    #[track_caller]
    pub(crate) fn event(&mut self) -> Event {
        self.next().expect("the stream has ended")
    }

    /// Receives raw text until it holds something.
    pub(crate) fn wait_for(&mut self, part: &str) {
        while !self.text.contains(part) {
            assert!(
                self.receive(),
                "the stream ended before {part:?}: {:?}",
                self.text
            );
        }
    }

    /// What has been received and not been read as events.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Waits for the end of the stream; everything must have been read before.
    pub(crate) fn wait_for_end(&mut self) {
        while self.receive() {}
    }

    fn receive(&mut self) -> bool {
        if self.ended {
            return false;
        }
        match self.client.receive_chunk() {
            Some(chunk) => self.text += &String::from_utf8_lossy(&chunk),
            None => self.ended = true,
        }
        !self.ended
    }

    fn interpret(&mut self, block: &str) -> Option<Event> {
        let mut name = "message".to_owned();
        let mut data: Option<String> = None;
        for line in block.split('\n').filter(|line| !line.is_empty()) {
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "" => {}
                "id" => self.last_id = value.to_owned(),
                "event" if !value.is_empty() => name = value.to_owned(),
                "event" => {}
                "retry" => self.retry = value.parse().ok(),
                "data" => match &mut data {
                    Some(data) => {
                        data.push('\n');
                        data.push_str(value);
                    }
                    None => data = Some(value.to_owned()),
                },
                other => panic!("an unknown field: {other:?}"),
            }
        }
        data.map(|data| Event {
            id: self.last_id.clone(),
            name,
            data,
        })
    }
}
