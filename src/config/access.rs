//! Settings of who may use the gateway: tokens, files of tokens, and doing without. A token is shown nowhere:
//! not in an error, not in `Debug`, not in `--help`.

use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::io::Read;

use clap::builder::{BoolishValueParser, TypedValueParser};
use clap::error::ErrorKind;
use clap::{Arg, Args, Command};

/// The flags that say who may use the gateway.
#[derive(Debug, Clone, Args)]
pub struct AccessFlags {
    /// A token that may do everything. May be given several times, or separated by commas. Others on
    /// this machine can read a program's arguments: the variable or --token-file keep it better.
    #[arg(long, env = "GATEWAY_TOKEN", value_name = "TOKEN", value_delimiter = ',', value_parser = Secret(parse_token), hide_env_values = true)]
    pub token: Vec<Token>,

    /// A file with such tokens, one a line; lines that are empty or begin with # do not count.
    #[arg(long, env = "GATEWAY_TOKEN_FILE", value_name = "PATH", value_parser = Secret(read_tokens))]
    pub token_file: Option<TokenFile>,

    /// A token that may read and listen only. May be given several times, or separated by commas.
    #[arg(long, env = "GATEWAY_READONLY_TOKEN", value_name = "TOKEN", value_delimiter = ',', value_parser = Secret(parse_token), hide_env_values = true)]
    pub readonly_token: Vec<Token>,

    /// A file with such tokens, as --token-file.
    #[arg(long, env = "GATEWAY_READONLY_TOKEN_FILE", value_name = "PATH", value_parser = Secret(read_tokens))]
    pub readonly_token_file: Option<TokenFile>,

    /// Serves whoever reaches the port, also where others than this machine can. Without this, and
    /// without a token, a gateway that listens on anything but loopback makes a token and prints it.
    #[arg(long, env = "GATEWAY_NO_AUTH", value_parser = BoolishValueParser::new())]
    pub no_auth: bool,
}

/// A secret that whoever shows it is known by.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

/// The tokens in a file.
#[derive(Debug, Clone)]
pub struct TokenFile(Vec<Token>);

/// A file of tokens is not longer than this: another one was meant.
const LONGEST_FILE: u64 = 1024 * 1024;

impl AccessFlags {
    /// Every token that may do everything.
    #[must_use]
    pub fn tokens(&self) -> Vec<Token> {
        all(&self.token, self.token_file.as_ref())
    }

    /// Every token that may only read.
    #[must_use]
    pub fn readonly_tokens(&self) -> Vec<Token> {
        all(&self.readonly_token, self.readonly_token_file.as_ref())
    }

    /// Whether the flags make sense together.
    ///
    /// # Errors
    /// A usage error that names those that do not.
    pub fn check(&self) -> Result<(), clap::Error> {
        let (full, readonly) = (self.tokens(), self.readonly_tokens());
        let message = if self.no_auth && !(full.is_empty() && readonly.is_empty()) {
            "--no-auth cannot be used with a token: nobody would be asked for it\n"
        } else if full.iter().any(|token| readonly.contains(token)) {
            "a token of --readonly-token is also one of --token\n"
        } else {
            return Ok(());
        };
        Err(clap::Error::raw(ErrorKind::ArgumentConflict, message))
    }
}

fn all(given: &[Token], file: Option<&TokenFile>) -> Vec<Token> {
    let from_file = file.map_or(&[][..], |file| &file.0);
    given.iter().chain(from_file).cloned().collect()
}

impl Token {
    /// What a client has to show. It goes nowhere else.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for Token {
    type Err = String;

    /// Takes what can stand in a header and a query. The error does not repeat it.
    fn from_str(text: &str) -> Result<Self, String> {
        parse_token(text)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

fn parse_token(text: &str) -> Result<Token, String> {
    if text.is_empty() {
        Err("it is empty".into())
    } else if !text.bytes().all(|b| b.is_ascii_graphic()) {
        Err("printable ASCII without spaces is wanted, which a header can carry".into())
    } else {
        Ok(Token(text.to_owned()))
    }
}

/// Reads a file of tokens. The error does not repeat the path: it could be a token in the wrong place.
fn read_tokens(path: &str) -> Result<TokenFile, String> {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| {
        let mut file = file.take(LONGEST_FILE + 1);
        file.read_to_string(&mut text)
    });
    match read {
        Ok(length) if length as u64 > LONGEST_FILE => return Err("the file is too long".into()),
        Ok(_) => {}
        Err(error) => return Err(format!("the file cannot be read: {error}")),
    }
    let mut tokens = Vec::new();
    for (n, line) in text.lines().enumerate() {
        let line = line.trim();
        if !line.is_empty() && !line.starts_with('#') {
            let token = parse_token(line).map_err(|why| format!("line {}: {why}", n + 1))?;
            tokens.push(token);
        }
    }
    if tokens.is_empty() {
        return Err("there is no token in the file".into());
    }
    Ok(TokenFile(tokens))
}

/// Parses values that must not be repeated in errors, as those of clap's own parsers are.
pub(super) struct Secret<T>(pub(super) fn(&str) -> Result<T, String>);

impl<T> Clone for Secret<T> {
    fn clone(&self) -> Self {
        Self(self.0)
    }
}

impl<T: Clone + Send + Sync + 'static> TypedValueParser for Secret<T> {
    type Value = T;

    fn parse_ref(
        &self,
        command: &Command,
        arg: Option<&Arg>,
        value: &OsStr,
    ) -> Result<T, clap::Error> {
        let parsed = match value.to_str() {
            Some(text) => (self.0)(text),
            None => Err("it is not UTF-8".into()),
        };
        parsed.map_err(|why| {
            let flag = arg.map(ToString::to_string).unwrap_or_default();
            let message = format!("invalid value for '{flag}': {why}\n");
            clap::Error::raw(ErrorKind::ValueValidation, message).with_cmd(command)
        })
    }
}
