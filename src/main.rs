//! The program: parses, logs, builds the gateway, waits for a signal.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::ExitCode;

use clap::Parser;
use redis_http_gateway::config::{Action, Cli, Config, LogFilter};
use redis_http_gateway::gateway::Gateway;
use redis_http_gateway::healthcheck;
use socket2::{Domain, Socket, Type};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Connections that the kernel keeps until they are accepted.
const BACKLOG: i32 = 4096;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.command {
        Some(Action::Healthcheck) => healthcheck::check(cli.flags.listen),
        None => {
            log_to_stderr(cli.flags.log.clone());
            serve(Config::from(&cli.flags), cli.flags.listen)
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("redis-http-gateway: {error}");
            ExitCode::FAILURE
        }
    }
}

fn log_to_stderr(filter: LogFilter) {
    let format = tracing_subscriber::fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(false);
    tracing_subscriber::registry()
        .with(filter)
        .with(format)
        .init();
}

fn serve(config: Config, address: SocketAddr) -> io::Result<()> {
    // As many connections as the system allows, not as a shell happens to be set to.
    rlimit::increase_nofile_limit(u64::MAX)?;
    let listener = listen(address).map_err(|error| {
        io::Error::new(error.kind(), format!("cannot listen on {address}: {error}"))
    })?;
    let gateway = Gateway::start(config, listener)?;
    // Before anybody is told that it is there, and may want it to end.
    let stop = gateway.bridge().block_on(async { StopSignals::catch() })?;
    // Whoever started the gateway may wait for this line, and may have closed the pipe since.
    let _ = writeln!(io::stdout(), "listening on http://{}", gateway.address());
    let failure = gateway.bridge().block_on(async {
        tokio::select! {
            () = stop.wait() => None,
            reason = gateway.failed() => Some(io::Error::other(reason)),
        }
    });
    gateway.shutdown();
    failure.map_or(Ok(()), Err)
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    // A restart does not have to wait for old connections to be forgotten.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// SIGTERM and SIGINT, which do not end the process any more once they are caught.
struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    fn catch() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for either.
    async fn wait(mut self) {
        tokio::select! {
            _ = self.terminate.recv() => tracing::info!("SIGTERM: shutting down"),
            _ = self.interrupt.recv() => tracing::info!("SIGINT: shutting down"),
        }
    }
}
