//! A Redis command as a value: a name and its arguments, all of them byte strings. No I/O.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;

/// A command for Redis, ready to be sent.
///
/// ```
/// use redis_http_gateway::command::Command;
///
/// let command = Command::new("SET").arg("greeting").arg("hello");
/// assert_eq!(command.name(), "SET");
/// assert_eq!(command.args()[1], "hello");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// The name in capitals, by which the gateway knows it.
    name: Cow<'static, str>,
    /// The name as it was given, then the arguments.
    parts: Vec<Bytes>,
    /// Whether it is a script of the gateway's own, which changes no key but the one that it is given.
    is_own_script: bool,
}

impl Command {
    /// A command of this name, which is given in capitals, and no arguments.
    #[must_use]
    pub fn new(name: &'static str) -> Self {
        Self::with_capacity(name, 3)
    }

    /// A command of this name with room for so many arguments.
    #[must_use]
    pub fn with_capacity(name: &'static str, args: usize) -> Self {
        let mut parts = Vec::with_capacity(1 + args);
        parts.push(Bytes::from_static(name.as_bytes()));
        Self {
            name: Cow::Borrowed(name),
            parts,
            is_own_script: false,
        }
    }

    /// The same with all that is not large in memory of its own.
    pub(crate) fn detached(&self) -> Self {
        const LARGE: usize = 64 * 1024;
        let own = |part: &Bytes| {
            if part.len() < LARGE {
                Bytes::copy_from_slice(part)
            } else {
                part.clone()
            }
        };
        Self {
            name: self.name.clone(),
            parts: self.parts.iter().map(own).collect(),
            is_own_script: self.is_own_script,
        }
    }

    /// A command as a client wrote it: its name, in whatever case, and its arguments. `None` without a name.
    ///
    /// ```
    /// use redis_http_gateway::command::Command;
    ///
    /// let command = Command::from_parts(vec!["get".into(), "key".into()]).expect("it has a name");
    /// assert_eq!(command.name(), "GET");
    /// assert_eq!(command.parts()[0], "get");
    /// ```
    #[must_use]
    pub fn from_parts(parts: Vec<Bytes>) -> Option<Self> {
        let name = String::from_utf8_lossy(parts.first()?).to_ascii_uppercase();
        Some(Self {
            name: Cow::Owned(name),
            parts,
            is_own_script: false,
        })
    }

    /// The command with one more argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<Bytes>) -> Self {
        self.parts.push(arg.into());
        self
    }

    /// The command with one more argument, the decimal digits of a number.
    #[must_use]
    pub fn number(self, number: impl Into<i128>) -> Self {
        let digits = number.into().to_string();
        self.arg(digits)
    }

    /// A test's command, with spaces between its parts.
    #[cfg(test)]
    pub(crate) fn of_line(line: &str) -> Self {
        let parts = line.split(' ').map(|part| part.to_owned().into()).collect();
        Self::from_parts(parts).expect("a name")
    }

    /// The command's name in capitals.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The first argument in capitals: where a command has subcommands, which one it is.
    #[must_use]
    pub fn subcommand(&self) -> String {
        self.args()
            .first()
            .map(|arg| keyword(arg))
            .unwrap_or_default()
    }

    /// The entry of a list that this is. An entry of two words, in capitals, is a command with its subcommand; one of one
    /// word, whatever follows it.
    pub(crate) fn entry_in<'a>(&self, list: &[&'a str]) -> Option<&'a str> {
        // Of nearly all entries the first letters tell that it is not that one.
        let is_it = |entry: &&&str| match entry.strip_prefix(self.name()) {
            Some("") => true,
            Some(rest) => {
                let second = rest.strip_prefix(' ');
                second.is_some_and(|second| self.subcommand() == second)
            }
            None => false,
        };
        list.iter().find(is_it).copied()
    }

    /// Whether it is in such a list.
    pub(crate) fn is_in(&self, list: &[&str]) -> bool {
        self.entry_in(list).is_some()
    }

    /// Replaces an argument, counted from 0.
    pub fn set_arg(&mut self, index: usize, arg: Bytes) {
        if let Some(place) = self.parts.get_mut(index + 1) {
            *place = arg;
        }
    }

    /// The arguments, without the name.
    #[must_use]
    pub fn args(&self) -> &[Bytes] {
        &self.parts[1..]
    }

    /// The name and the arguments, as they go over the wire.
    #[must_use]
    pub fn parts(&self) -> &[Bytes] {
        &self.parts
    }

    /// A script of the gateway's own, which changes no key but this one.
    pub(crate) fn own_script(text: &'static str, key: Bytes) -> Self {
        let command = Self::with_capacity("EVAL", 6).arg(text).number(1).arg(key);
        Self {
            is_own_script: true,
            ..command
        }
    }

    /// The only key that it may change, if it is a script of the gateway's own.
    pub(crate) fn key_of_own_script(&self) -> Option<&Bytes> {
        self.parts.get(3).filter(|_| self.is_own_script)
    }

    /// [GET](https://redis.io/docs/latest/commands/get/).
    #[must_use]
    pub fn get(key: Bytes) -> Self {
        Self::with_capacity("GET", 1).arg(key)
    }

    /// [PUBLISH](https://redis.io/docs/latest/commands/publish/).
    #[must_use]
    pub fn publish(channel: Bytes, message: Bytes) -> Self {
        Self::with_capacity("PUBLISH", 2).arg(channel).arg(message)
    }
}

/// A word of a command's syntax as Redis compares it: without regard to case, and ending at the first NUL.
#[must_use]
pub fn keyword(arg: &[u8]) -> String {
    let end = memchr::memchr(0, arg).unwrap_or(arg.len());
    String::from_utf8_lossy(&arg[..end]).to_ascii_uppercase()
}

/// When a key that is set shall expire: the options of
/// [SET](https://redis.io/docs/latest/commands/set/) that exclude each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    /// `EX`: after so many seconds.
    Seconds(u64),
    /// `PX`: after so many milliseconds.
    Milliseconds(u64),
    /// `EXAT`: at this Unix time, in seconds.
    AtSeconds(u64),
    /// `PXAT`: at this Unix time, in milliseconds.
    AtMilliseconds(u64),
    /// `KEEPTTL`: whenever the old value would have expired.
    Keep,
}

impl Expiry {
    /// The time from now, where it is given so.
    #[must_use]
    pub fn relative(self) -> Option<Duration> {
        match self {
            Self::Seconds(n) => Some(Duration::from_secs(n)),
            Self::Milliseconds(n) => Some(Duration::from_millis(n)),
            Self::AtSeconds(_) | Self::AtMilliseconds(_) | Self::Keep => None,
        }
    }

    /// Appends the option to a SET command.
    #[must_use]
    pub fn append_to(self, command: Command) -> Command {
        match self {
            Self::Seconds(n) => command.arg("EX").number(n),
            Self::Milliseconds(n) => command.arg("PX").number(n),
            Self::AtSeconds(n) => command.arg("EXAT").number(n),
            Self::AtMilliseconds(n) => command.arg("PXAT").number(n),
            Self::Keep => command.arg("KEEPTTL"),
        }
    }
}
