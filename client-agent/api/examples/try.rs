//! A store with eleven made-up customers on 1 January 2026, to try the API without an agent:
//! `cargo run -p chorale-api --example try -- 8080`
//!
//! Writes the address and an administrator's token, then answers until it is stopped. Everything
//! lies in a temporary folder.
#![allow(clippy::print_stdout, clippy::unwrap_used)]

#[path = "../tests/support/mod.rs"]
mod support;

use chorale_api::Settings;
use chorale_people::{
    hand_over::{LinkKeys, Linked},
    keys::Key,
};

#[tokio::main]
async fn main() {
    let port: u16 = std::env::args().nth(1).map_or(0, |port| port.parse().expect("a port"));
    let settings =
        Settings { requests_per_second: 1_000_000, burst: 1_000_000, ..Settings::default() };
    let (seal_key, sign_key) = LinkKeys::new(&Key::from_bytes([2; 32])).public();
    let agent = "web-shop".into();
    let linked = Linked { agent, seal_key, sign_key, give: true, take: true, days: 30 };
    let shop = support::Shop::new().restarted_with(|parts| {
        parts.settings = settings;
        parts.linked = vec![linked];
    });
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    println!("http://{}/", listener.local_addr().unwrap());
    println!("{}", shop.administrator);
    axum::serve(listener, shop.service.clone()).await.unwrap();
}
