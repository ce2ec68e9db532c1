//! Keys, certificates and the coordinator's configuration of a swarm.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use chorale_coordinator::{config::Config, sign_off};
use chorale_task::catalogue::HEADER;
use chorale_transport::{Addresses, Authority, CoordinatorKeys, Enrolment, StoreKeys};
use chorale_wire::{AgentId, FederationId, SecretKey};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;

use crate::{Arguments, Failure, vector};

/// Any free port of this machine.
const ANY: &str = "127.0.0.1:0";

/// Everything that the agents and the coordinator need before they meet.
pub(crate) struct Federation {
    folder: tempfile::TempDir,
    pub(crate) name: FederationId,
    pub(crate) members: Vec<Member>,
}

/// One enrolled agent.
pub(crate) struct Member {
    pub(crate) enrolment: Enrolment,
    pub(crate) key: SecretKey,
}

impl Federation {
    /// Enrols everybody with an authority of its own, in a folder that goes with the run.
    pub(crate) fn create(arguments: &Arguments) -> Result<Self, Failure> {
        let folder = tempfile::tempdir()?;
        let root = folder.path();
        let now = now_s();
        let mut rng = rng()?;
        let mut authority = Authority::create(&root.join("authority"), now, &mut rng)?;
        let keys = CoordinatorKeys::generate(&root.join("coordinator-keys"), &mut rng)?;
        keys.accept(&authority.issue_server(&keys.request()?, now, &mut rng)?, now)?;
        let stores = (0..arguments.agents)
            .map(|store| Ok((AgentId::new(name_of(store))?, String::new())))
            .collect::<Result<Vec<_>, chorale_wire::IdError>>()?;
        // Where it listens the coordinator says when it runs.
        let addresses = Addresses { coordinator: ANY.into(), enrolment: ANY.into() };
        let day = Duration::from_secs(86_400);
        let invitations = authority.invite(&stores, &addresses, day, now, &mut rng)?;
        let administrator = SecretKey::generate(&mut rng).public();
        let members = invitations
            .iter()
            .map(|invitation| {
                let keys = StoreKeys::generate(&root.join(invitation.agent.as_str()), &mut rng)?;
                let request = keys.request(invitation, &administrator)?;
                let bundle = authority.sign(&request, now, &mut rng)?;
                let enrolment = keys.accept(invitation, &administrator, &bundle, now)?;
                let key = SecretKey::from_seed(&keys.identity().to_seed());
                Ok(Member { enrolment, key })
            })
            .collect::<Result<Vec<_>, Failure>>()?;
        fs::write(root.join("catalogue.csv"), catalogue(arguments.coordinates))?;
        let config = root.join("coordinator.toml");
        fs::write(&config, configuration(arguments))?;
        // The compliance officer signs every plan off.
        let compliance = root.join("compliance.key");
        sign_off::keygen(&compliance, &mut rng)?;
        sign_off::sign(&Config::load(&config)?, &compliance, &root.join("sign-off.json"))?;
        Ok(Self { folder, name: FederationId::new("swarm")?, members })
    }

    /// The coordinator's configuration file.
    pub(crate) fn config(&self) -> PathBuf {
        self.folder.path().join("coordinator.toml")
    }

    /// The coordinator's folder of state.
    pub(crate) fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// Where the coordinator's log goes.
    pub(crate) fn log(&self) -> PathBuf {
        self.folder.path().join("coordinator.log")
    }

    /// The run's folder, kept.
    pub(crate) fn keep(self) -> PathBuf {
        self.folder.keep()
    }
}

/// The agent's name; the coordinator's ledger lists survivors by it.
pub(crate) fn name_of(store: u32) -> String {
    format!("store-{store}")
}

/// The number in an agent's name.
pub(crate) fn number_of(agent: &AgentId) -> Option<u32> {
    agent.as_str().strip_prefix("store-")?.parse().ok()
}

/// A model that the coordinator stored.
pub(crate) fn model_path(state: &Path, digest: &str) -> PathBuf {
    state.join("models").join(format!("{digest}.model"))
}

/// As many items as coordinates: the task of the swarm is how popular each of them is.
fn catalogue(items: u32) -> String {
    let rows: String = (0..items).map(|item| format!("{item},item-{item},all,\n")).collect();
    format!("{HEADER}\n{rows}")
}

/// One plan for each round, because a popularity plan has one.
fn configuration(arguments: &Arguments) -> String {
    let Arguments { agents, gamma_per_mille, rounds, patience, .. } = arguments;
    let (survivors_min, patience_ms) = (arguments.survivors_min(), patience * 1_000);
    let privacy = match arguments.epsilon {
        Some(epsilon) => format!("epsilon = {epsilon:?}"),
        None => "unprotected = true".to_string(),
    };
    let plans: String = (1..=*rounds)
        .map(|round| {
            format!(
                "\n[[plan]]\nname = \"popularity-{round}\"\ntask = \"popularity\"\nrounds = 1\n\
                 budget_share = \"1/{rounds}\"\npersons_max = 1\nevents_before_s = {}\n\
                 [plan.parameters]\nfloor = {:?}\nfloor_noise = 0.0\n",
                1_700_000_000 + round,
                f64::from(vector::FLOOR)
            )
        })
        .collect();
    format!(
        "federation = \"swarm\"\npurpose = \"measurement\"\nagents = {agents}\n\
         catalogue = \"catalogue.csv\"\nstate = \"state\"\nkeys = \"coordinator-keys\"\n\
         listen = \"{ANY}\"\nconnections_per_address = {connections}\n\
         [privacy]\n{privacy}\n\
         [cohort]\nenrolled = {agents}\ngamma_per_mille = {gamma_per_mille}\n\
         survivors_min = {survivors_min}\n\
         [timing]\ngather_ms = {patience_ms}\nsetup_ms = {patience_ms}\n\
         ready_ms = {patience_ms}\nupload_ms = {patience_ms}\nreveal_ms = {patience_ms}\n\
         retries = 0\n{plans}",
        // While one connection replaces another, both count.
        connections = 2 * agents,
    )
}

/// A generator seeded from the operating system.
pub(crate) fn rng() -> Result<ChaCha20Rng, Failure> {
    let mut seed = zeroize::Zeroizing::new([0; 32]);
    getrandom::fill(seed.as_mut())?;
    Ok(ChaCha20Rng::from_seed(*seed))
}

pub(crate) fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

fn now_s() -> u64 {
    now_ms() / 1_000
}
