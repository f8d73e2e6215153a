//! A web server on Heapglass that tells who holds its memory, as continuous profilers ask for it:
//!
//! ```sh
//! cargo run --release -p rust-axum &
//! curl 'http://127.0.0.1:6060/remember?bytes=10000000'
//! curl -o heap.pb.gz http://127.0.0.1:6060/debug/pprof/heap
//! go tool pprof -top heap.pb.gz
//! ```
//!
//! A word behind the command is the port; 0 is any that is free. It prints the address that it listens on.

use axum::Router;
use axum::extract::Query;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::Mutex;

#[global_allocator]
static A: heapglass::Heapglass = heapglass::Heapglass;

static REMEMBERED: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

/// Unwinding and naming take a while, so that isn't for a thread that serves.
async fn heap() -> impl IntoResponse {
    let body = tokio::task::spawn_blocking(heapglass::profile::pprof).await.unwrap_or_default();
    ([(CONTENT_TYPE, "application/octet-stream")], body)
}

/// Holds on to so many bytes.
async fn remember(Query(asked): Query<HashMap<String, String>>) -> String {
    let bytes = asked.get("bytes").and_then(|bytes| bytes.parse().ok()).unwrap_or(1000);
    let mut all = REMEMBERED.lock().expect("nobody panics with it");
    all.extend(pieces(bytes));
    format!("{} pieces\n", all.len())
}

#[inline(never)]
fn pieces(bytes: usize) -> Vec<Vec<u8>> {
    (0..bytes / 1000).map(|number| vec![number as u8; 1000]).collect()
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    heapglass::profile::start(heapglass::profile::INTERVAL)?;
    let port = std::env::args().nth(1).and_then(|port| port.parse().ok()).unwrap_or(6060);
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    println!("http://{}", listener.local_addr()?);
    let pages = Router::new().route("/debug/pprof/heap", get(heap)).route("/remember", get(remember));
    axum::serve(listener, pages).await
}
