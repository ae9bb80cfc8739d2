//! The gateway's routes behind a plain `tiny_http::Server` and a `threadpool`: the bridge at its barest.
//!
//! A thread a request, each blocking on its own commands through a handle of the shared runtime. For trusted
//! networks only: `tiny_http`'s server sets no limits and no deadlines (docs/architecture.md shows what that
//! means), and event streams need the gateway's own server.
//!
//!     cargo run --example tiny_http_server
//!     curl -X PUT --data-binary hello http://127.0.0.1:8090/v1/keys/greeting

use std::error::Error;

use redis_http_gateway::bridge::Bridge;
use redis_http_gateway::config::Config;
use redis_http_gateway::http::request::Request;
use redis_http_gateway::http::service::Service;
use redis_http_gateway::upstream::Upstream;
use threadpool::ThreadPool;
use tiny_http::Server;

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:8090".into());
    let config = Config::default();
    let bridge = Bridge::new(config.runtime_threads)?;
    let upstream = bridge.block_on(Upstream::start(&config))?;
    let service = Service::new(&config, upstream);

    let pool = ThreadPool::new(config.threads);
    let server = Server::http(address)?;
    println!("listening on http://{}", server.server_addr());
    loop {
        let request = server.recv()?;
        let (service, runtime) = (service.clone(), bridge.handle().clone());
        pool.execute(move || {
            if let Err(error) = answer(request, &service, &runtime) {
                eprintln!("a client was not answered: {error}");
            }
        });
    }
}

fn answer(
    mut incoming: tiny_http::Request,
    service: &Service,
    runtime: &tokio::runtime::Handle,
) -> std::io::Result<()> {
    let mut body = Vec::new();
    incoming.as_reader().read_to_end(&mut body)?;
    let mut request = Request::new(incoming.method().clone(), incoming.url()).with_body(body);
    for header in incoming.headers() {
        request = request.with_header(header.field.as_str().as_str(), header.value.as_str());
    }
    let response = service.answer(&request, runtime);
    incoming.respond(response.into_tiny_http())
}
