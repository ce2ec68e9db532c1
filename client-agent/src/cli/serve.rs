//! `serve`, and `tokens add`, `revoke` and `list`.

use std::{
    io::Write,
    net::{IpAddr, SocketAddr},
    path::Path,
};

use chorale_api::{
    Clock, Parts,
    tokens::{Role, Tokens},
};
use clap::Args;

use super::{Agent, Done, OutputError, federation::shutdown_signal, linked, table, write_json};
use crate::{
    calendar,
    config::{Config, ConfigError},
    error::Failure,
    odometer::Odometer,
    store::Store,
};

#[derive(Debug, Args)]
pub(super) struct Options {
    /// Where to listen instead of the configuration's serve.listen; port 0 chooses a free one.
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    /// Answer as if it were always this instant (UTC), for old data: 2017-12-02T05:00:00Z.
    #[arg(long, value_name = "INSTANT", value_parser = instant)]
    as_of: Option<i64>,
}

#[derive(Debug, Args)]
pub(super) struct AddOptions {
    /// A name for the token: a-z, 0-9 and '-'.
    name: String,
    /// collector (sends events only), application (the store's systems), administrator
    /// (everything, with export and erasure) or auditor (figures only).
    #[arg(long, value_parser = role)]
    role: Role,
}

#[derive(Debug, Args)]
pub(super) struct ListOptions {
    /// Write the list as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn serve(path: &Path, options: &Options, out: &mut dyn Write) -> Result<Done, Failure> {
    let agent = Agent::load(path)?;
    let listen = options.listen.unwrap_or(agent.config.serve.listen);
    if !listen.ip().is_loopback() && !agent.config.serve.allow_remote {
        return Err(ConfigError::Value {
            path: path.into(),
            key: "serve.allow_remote".into(),
            expected: "true where --listen is no loopback address; the API speaks plain HTTP, so \
                 put a reverse proxy that speaks TLS before it",
        }
        .into());
    }
    let key = agent.store_key()?;
    let store = Store::open(&agent.config.data_dir, &key)?.under(&agent.names)?;
    let odometer = Odometer::new(&agent.config.data_dir, &key).under(&agent.names)?;
    let receipt_key = linked::receipt_key(&agent, &key)?;
    let linked = linked::linked(&agent)?;
    let served = agent.config.served();
    let parts = Parts {
        agent: agent.config.agent.to_string(),
        home: served.home.to_owned(),
        window_end_s: served.window_end_s,
        catalogue: agent.catalogue,
        names: agent.names,
        store,
        settings: agent.config.serve.clone(),
        tokens: agent.config.tokens_path(),
        receipt_key,
        retention: agent.config.retention_days.clone(),
        clock: options.as_of.map_or(Clock::System, Clock::Fixed),
        features: agent.config.features.clone(),
        channels: agent.config.cleaning.channels.clone(),
        linked,
        elsewhere: vec![Box::new(odometer)],
    };
    let nobody = Tokens::read(&agent.config.tokens_path())?.list().next().is_none();
    let mut said = Ok(());
    let listening = |address: SocketAddr| {
        let host = match address.ip() {
            IpAddr::V4(host) => host.to_string(),
            IpAddr::V6(host) => format!("[{host}]"),
        };
        said = writeln!(out, "listening on http://{host}:{}/", address.port());
        if nobody && said.is_ok() {
            said = writeln!(
                out,
                "there are no tokens yet, so nobody may call: \
                 `client-agent tokens add NAME --role application`"
            );
        }
        said = std::mem::replace(&mut said, Ok(())).and_then(|()| out.flush());
    };
    let runtime = super::runtime()?;
    runtime.block_on(chorale_api::serve(parts, listen, listening, shutdown_signal()))?;
    said.map_err(OutputError)?;
    Ok(Done::Well)
}

pub(super) fn add(
    config: &Path,
    options: &AddOptions,
    out: &mut dyn Write,
) -> Result<Done, Failure> {
    let config = Config::load(config)?;
    let token = Tokens::add(&config.tokens_path(), &options.name, options.role)?;
    writeln!(out, "{token}").map_err(OutputError)?;
    Ok(Done::Well)
}

pub(super) fn revoke(config: &Path, name: &str, out: &mut dyn Write) -> Result<Done, Failure> {
    let config = Config::load(config)?;
    Tokens::revoke(&config.tokens_path(), name)?;
    writeln!(out, "'{name}' is out of the file; a running `serve` forgets it within a second")
        .map_err(OutputError)?;
    Ok(Done::Well)
}

pub(super) fn list(
    config: &Path,
    options: &ListOptions,
    out: &mut dyn Write,
) -> Result<Done, Failure> {
    let config = Config::load(config)?;
    let tokens = Tokens::read(&config.tokens_path())?;
    if options.json {
        let all: Vec<_> = tokens
            .list()
            .map(|(name, role)| serde_json::json!({ "name": name, "role": role }))
            .collect();
        write_json(out, &all)?;
        return Ok(Done::Well);
    }
    let rows = tokens
        .list()
        .map(|(name, role)| vec![name.to_owned(), format!("{role:?}").to_ascii_lowercase()]);
    let header = std::iter::once(["name", "role"].map(String::from).to_vec());
    out.write_all(table(&header.chain(rows).collect::<Vec<_>>()).as_bytes())
        .map_err(OutputError)?;
    Ok(Done::Well)
}

fn role(text: &str) -> Result<Role, String> {
    Role::parse(text).ok_or_else(|| "collector, application, administrator or auditor".into())
}

fn instant(text: &str) -> Result<i64, String> {
    calendar::parse(text).ok_or_else(|| "an instant in UTC like 2017-12-02T05:00:00Z".into())
}
