//! Valid input for every target, from which the fuzzer starts. They are made, not stored, so that
//! they follow every change of a format; the corpus then holds what the fuzzer found beyond them.

use std::{collections::BTreeMap, fs, io, path::Path};

use chorale_dp::{Rational, Rho};
use chorale_ledger::{
    ACCOUNTANT_VERSION, Adjacency, Chain, Entry, GenesisEntry, IdentityMethod, Privacy,
    RefusalKind, RefusalLine, Released, ReserveEntry, RosterEntry, Unit,
};
use chorale_plan::{
    CohortRule, Mechanism, Parameter, Parameters, Plan, RoundSpec, Shape, SignOff, TaskSpec,
};
use chorale_secagg::{Modulus, packing};
use chorale_task::{Model, catalogue, model::Tensor};
use chorale_wire::{
    AgentId, Digest, Epoch, FederationId, Membership, Message, RoundNumber, SecretKey, SessionId,
    Signature, Signed, Slot, SlotSet, ToAgent, ToCoordinator, codec,
    message::{
        AbortCause, EnrolmentAnswer, EnrolmentBundle, EnrolmentRequest, Reason, Refusal,
        RefusalCode,
    },
};

use crate::{ledger, machines};

/// A target's name and one input for it.
pub type Seed = (&'static str, Vec<u8>);

/// All seeds, always the same.
#[must_use]
pub fn all() -> Vec<Seed> {
    let mut seeds = Vec::new();
    messages(&mut seeds);
    enrolment(&mut seeds);
    plans(&mut seeds);
    numbers(&mut seeds);
    ledgers(&mut seeds);
    tasks(&mut seeds);
    schedules(&mut seeds);
    #[cfg(feature = "transport")]
    files(&mut seeds);
    seeds
}

/// Writes every seed into `folder`, in a folder of its target's name.
///
/// # Errors
/// What the system says.
pub fn write(folder: &Path) -> io::Result<()> {
    for (target, bytes) in all() {
        let folder = folder.join(target);
        fs::create_dir_all(&folder)?;
        let name = Digest::plain(&bytes).to_string();
        fs::write(folder.join(format!("seed-{}", &name[..16])), bytes)?;
    }
    Ok(())
}

fn encoded<T: serde::Serialize>(value: &T) -> Vec<u8> {
    codec::encode(value, usize::MAX).expect("a seed can be encoded")
}

/// One message of every kind, and its payload.
fn messages(seeds: &mut Vec<Seed>) {
    let said = machines::messages();
    let mut kinds: BTreeMap<(bool, u8), Vec<u8>> = BTreeMap::new();
    let to_agent = said.to_agent.iter().map(|message| (true, encoded(message)));
    let to_coordinator = said.to_coordinator.iter().map(|message| (false, encoded(message)));
    for (to_agent, bytes) in to_agent.chain(to_coordinator) {
        kinds.entry((to_agent, bytes[0])).or_insert(bytes);
    }
    for ((to_agent, _), bytes) in kinds {
        seeds.push((if to_agent { "to_agent" } else { "to_coordinator" }, bytes));
    }
    let mut payloads: BTreeMap<u8, Vec<u8>> = BTreeMap::new();
    for message in &said.to_agent {
        if let Some((kind, payload)) = payload_to_agent(message) {
            payloads.entry(kind).or_insert(payload);
        }
    }
    for message in &said.to_coordinator {
        if let Some((kind, payload)) = payload_to_coordinator(message) {
            payloads.entry(kind).or_insert(payload);
        }
    }
    for header in &said.headers {
        payloads.entry(8).or_insert(payload(header));
    }
    for (kind, payload) in payloads {
        seeds.push(("signed_message", [&[kind][..], &payload].concat()));
    }
}

fn payload<T: Message>(signed: &Signed<T>) -> Vec<u8> {
    signed.as_bytes().payload().to_vec()
}

/// Positions as in [`crate::wire::signed_kinds`].
fn payload_to_agent(message: &ToAgent) -> Option<(u8, Vec<u8>)> {
    Some(match message {
        ToAgent::EpochOpen(signed) => (0, payload(signed)),
        ToAgent::Shares(envelopes) => (3, payload(envelopes.first()?)),
        ToAgent::RoundOpen(open) => (16, open.payload().to_vec()),
        ToAgent::Commit(signed) => (7, payload(signed)),
        ToAgent::Survivors(proven) => (9, payload(&proven.fixed)),
        ToAgent::RoundResult(signed) => (12, payload(signed)),
        ToAgent::Abort(signed) => (13, payload(signed)),
        _ => return None,
    })
}

fn payload_to_coordinator(message: &ToCoordinator) -> Option<(u8, Vec<u8>)> {
    Some(match message {
        ToCoordinator::Advert(signed) => (1, payload(signed)),
        ToCoordinator::RosterVote(signed) => (2, payload(signed)),
        ToCoordinator::Complaint(signed) => (4, payload(signed)),
        ToCoordinator::Ready(signed) => (5, payload(signed)),
        ToCoordinator::Refusal(signed, _) => (6, payload(signed)),
        ToCoordinator::SurvivorVote(signed) => (10, payload(signed)),
        ToCoordinator::Reveal(signed) => (11, payload(signed)),
        _ => return None,
    })
}

fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

fn enrolment(seeds: &mut Vec<Seed>) {
    let agent = AgentId::new("store-367").expect("an id");
    let request = EnrolmentRequest {
        agent: agent.clone(),
        identity: key(3).public(),
        tls_request: vec![0x30, 0x03, 0x02, 0x01, 0x00],
        administrator: key(4).public(),
        token: Digest::plain(b"token"),
        proof: [7; 32],
    };
    let membership = membership(agent, 3);
    let bundle = EnrolmentBundle {
        membership: Signed::sign(&membership, &key(1)).expect("short"),
        tls_certificate: vec![0x30, 0x00],
        tls_root: vec![0x30, 0x00],
        authority: key(1).public(),
        coordinator: key(2).public(),
    };
    seeds.push(("signed_message", [&[14][..], &encoded(&request)].concat()));
    seeds.push(("signed_message", [&[15][..], &encoded(&membership)].concat()));
    seeds.push(("enrolment", encoded(&Signed::sign(&request, &key(3)).expect("short"))));
    seeds.push(("enrolment", encoded(&bundle)));
    seeds.push(("enrolment", encoded(&EnrolmentAnswer::Issued(Box::new(bundle)))));
    seeds.push(("enrolment", encoded(&EnrolmentAnswer::Pending(Reason::new("not signed yet")))));
    seeds.push(("enrolment", encoded(&EnrolmentAnswer::Refused(Reason::new("token used")))));
}

fn membership(agent: AgentId, identity: u8) -> Membership {
    Membership {
        agent,
        identity: key(identity).public(),
        tls_key: Digest::plain(&[identity]),
        administrator: key(identity + 100).public(),
        not_before_s: 0,
        not_after_s: 4_000_000_000,
        enrolled: 12,
    }
}

fn plan(mechanism: Mechanism) -> Plan {
    let parameters = [
        ("rank".to_string(), Parameter::Integer(8)),
        ("eta".to_string(), Parameter::Real(0.5)),
        ("kind".to_string(), Parameter::Text("dense".to_string())),
    ];
    Plan {
        name: "taste".to_string(),
        task: TaskSpec {
            name: "cooccurrence".to_string(),
            parameters: Parameters(parameters.into_iter().collect()),
        },
        rounds: 3,
        mechanism,
        scale_bits: 16,
        persons_max: 256,
        stores_max: 1,
        cohort: CohortRule { enrolled: 12, corrupt: 2, survivors_min: 10 },
        catalogue: Digest::plain(b"catalogue"),
        events_before_s: 1_512_172_800,
        canary_lanes: 0,
    }
}

fn noisy(remove_surplus: bool) -> Mechanism {
    Mechanism::DiscreteGaussian {
        sigma_squared: Rational::from_integer(1u64 << 37),
        remove_surplus,
    }
}

fn spec(mechanism: Mechanism, round: u64) -> RoundSpec {
    RoundSpec {
        federation: FederationId::new("demo").expect("an id"),
        epoch: Epoch(1),
        round: RoundNumber(round),
        key_index: 0,
        keystream: chorale_wire::Keystream::default(),
        sign_off: (round > 1).then(|| Signature::from_bytes([7; 64])),
        step: 0,
        plan: plan(mechanism),
        shape: Shape { coordinates: 451, clip: Rational::one() },
        model: Digest::plain(b"model"),
        ready_within_ms: 60_000,
        upload_within_ms: 120_000,
    }
}

fn plans(seeds: &mut Vec<Seed>) {
    for mechanism in [noisy(false), noisy(true), Mechanism::Unprotected] {
        let bytes = encoded(&spec(mechanism.clone(), 7));
        seeds.push(("round_spec", [&[0, 12][..], &bytes].concat()));
        let json = serde_json::to_string(&plan(mechanism.clone())).expect("a plan has a text");
        seeds.push(("plan_text", [b"\0", json.as_bytes()].concat()));
        let toml = toml::to_string(&plan(mechanism)).expect("a plan has a text");
        seeds.push(("plan_text", [b"\x01", toml.as_bytes()].concat()));
    }
}

fn numbers(seeds: &mut Vec<Seed>) {
    for text in ["0", "-3", "6/14", "1/100000", "340282366920938463463374607431768211456/3"] {
        seeds.push(("rational", text.as_bytes().to_vec()));
    }
    for (bits, values) in [(12u8, vec![0x123, 0xabc, 0x7ff]), (32, vec![7; 5]), (62, vec![1; 9])] {
        let modulus = Modulus::new(bits).expect("2 to 62");
        let length = values.len() as u8;
        seeds
            .push(("packing", [&[bits, 0, length][..], &packing::pack(&values, modulus)].concat()));
    }
    // Canonical scalars, two a round; the lowest byte is also the share's point.
    let scalar = |low: u8| std::iter::once(low).chain([0; 31]);
    let shares: Vec<u8> = (1..7).flat_map(scalar).collect();
    seeds.push(("share_plaintext", [&[3, 2][..], &shares].concat()));
}

fn genesis(cap_rho: Privacy) -> GenesisEntry {
    GenesisEntry {
        federation: FederationId::new("demo").expect("an id"),
        unit: Unit::Person,
        adjacency: Adjacency::AddRemove,
        identity_method: IdentityMethod::HomeStore,
        stores_max: None,
        delta: Rational::parse("1/100000").expect("a fraction"),
        delta_reserved: Rational::parse("1/1000000000").expect("a fraction"),
        cap_rho,
        caps: Vec::new(),
        enrolled: 12,
        corrupt: 2,
        survivors_min: 10,
        catalogue: Digest::plain(b"catalogue"),
        coordinator: ledger::key().public(),
        authority: key(2).public(),
        compliance: key(9).public(),
        predecessors: Vec::new(),
        accountant_version: ACCOUNTANT_VERSION.to_string(),
        software: "chorale 0.1.0".to_string(),
        purpose: "evaluation only".to_string(),
    }
}

/// A roster, a round with a result, one aborted before and one after COMMIT; with noise and
/// without.
fn ledgers(seeds: &mut Vec<Seed>) {
    let cap = Privacy::Rho(Rho::new(Rational::from_integer(2)).expect("positive"));
    for (cap, mechanism) in [(cap, noisy(true)), (Privacy::Unprotected, Mechanism::Unprotected)] {
        let first = Entry::Genesis(Box::new(genesis(cap.clone())));
        let mut entries = vec![first];
        let (mut chain, mut file) =
            Chain::genesis(genesis(cap), &ledger::key(), 1000).expect("an admissible genesis");
        let agents: Vec<AgentId> =
            (0..12).map(|i| AgentId::new(format!("store-{i:02}")).expect("an id")).collect();
        let memberships: Vec<Signed<Membership>> = agents
            .iter()
            .zip(10..)
            .map(|(agent, identity)| membership(agent.clone(), identity))
            .map(|membership| Signed::sign(&membership, &key(2)).expect("short"))
            .collect();
        let (digest, seed) = (Digest::plain(b"roster"), Digest::plain(b"seed"));
        let roster = RosterEntry::of(Epoch(1), digest, seed, &memberships).expect("as signed");
        let mut append = |chain: &mut Chain, entry: Entry| {
            entries.push(entry.clone());
            file.push_str(&chain.append(entry, &ledger::key(), 1001).expect("an admissible entry"));
        };
        append(&mut chain, Entry::Roster(roster));
        for round in 1..=3 {
            let spec = spec(mechanism.clone(), round);
            let derived = spec.derive(12).expect("an admissible spec");
            let plan = spec.plan.digest().expect("short");
            let sign_off = SignOff { federation: spec.federation.clone(), plan };
            let sign_off = sign_off.sign(&key(9)).expect("short");
            let reserve = ReserveEntry::of(&spec, &derived, sign_off).expect("short");
            append(&mut chain, Entry::Reserve(Box::new(reserve)));
            let end = match round {
                1 => chain.release(released(&agents[1..])),
                _ => chain.abort(RoundNumber(round), AbortCause::Survivors, round == 3, false),
            };
            let end = end.expect("the round is reserved");
            let refused = (round < 3).then(|| refusal(&spec, plan, agents[0].clone()));
            append(&mut chain, end.with_refusals(refused.into_iter().collect()));
        }
        seeds.push(("ledger_file", file.into_bytes()));
        let lines: Vec<String> = entries
            .iter()
            .map(|entry| serde_json::to_string(entry).expect("an entry has a text"))
            .collect();
        seeds.push(("ledger_entries", lines.join("\n").into_bytes()));
    }
}

/// The word of the agent in slot 0.
fn refusal(spec: &RoundSpec, plan: Digest, agent: AgentId) -> RefusalLine {
    let refusal = Refusal {
        federation: spec.federation.clone(),
        epoch: spec.epoch,
        round: spec.round,
        slot: Slot(0),
        plan,
        code: RefusalCode::SignOff,
    };
    let signature = Signed::sign(&refusal, &key(10)).expect("short").signature();
    RefusalLine { agent, why: RefusalKind::SignOff, signature }
}

fn released(survivors: &[AgentId]) -> Released {
    let none = Digest::plain(b"");
    Released {
        round: RoundNumber(1),
        session: SessionId::new(Epoch(1), RoundNumber(1), &none, &none, &SlotSet::empty(12)),
        survivors: survivors.to_vec(),
        vectors: vec![Digest::plain(b"vector"); survivors.len()],
        transcript: Digest::plain(b"transcript"),
        output_model: Digest::plain(b"model"),
        canaries: None,
    }
}

fn tasks(seeds: &mut Vec<Seed>) {
    let model = Model::initial(3, Digest::plain(b"catalogue"))
        .and_then(|model| {
            let tensor = Tensor::vector(&[1.0, 2.5, 0.0])?;
            model.with_tensor("popularity", "popularity", tensor)
        })
        .and_then(|model| model.with_note("plan", "taste"))
        .and_then(|model| model.encode());
    seeds.push(("model", model.expect("a small model")));
    let text = format!(
        "{}\n0,APPLES,PRODUCE,FRUIT\n1,\"BEANS, \"\"GREEN\"\"\",PRODUCE,\n",
        catalogue::HEADER
    );
    seeds.push(("catalogue", text.replace('\n', "\r\n").into_bytes()));
    seeds.push(("catalogue", text.into_bytes()));
}

/// Schedules for the machines: undisturbed, one drop-out, and for each kind of message a lie,
/// a loss and a repetition.
fn schedules(seeds: &mut Vec<Seed>) {
    for target in ["agent_machine", "coordinator_machine"] {
        seeds.push((target, Vec::new()));
        for kind in 0..18u8 {
            for what in [128, 129, 132, 160] {
                // Agent 0 is the victim of one target, agent 4 the liar of the other.
                let agent = if target == "agent_machine" { 0 } else { 4 };
                seeds.push((target, vec![64 + kind, agent, what, 0, kind * 5, 1, 1]));
            }
        }
        for phase in [3, 4, 5, 6, 7, 8, 11, 12, 14, 15] {
            for what in [1, 2, 6] {
                seeds.push((target, vec![64 + phase, 255, 144, 0, what, 0x1f, 0x1f, 140, 3, 0, 9]));
            }
            seeds.push((target, vec![64 + phase, 255, 184, 2, 63, 188, 3, 63, 168, 7, 188, 1]));
            seeds.push((target, vec![64 + phase, 255, 164, 3, 0, 0, 1, 0, 204, 1, 1, 176, 1]));
        }
    }
    // Where agent 1 drops out, every share of the others is needed, also the liar's.
    let lost = [64 + 17, 1, 128];
    seeds.push(("agent_machine", lost.to_vec()));
    seeds.push(("coordinator_machine", lost.to_vec()));
    // The liar reveals another share: a reveal's payload has 34 bytes before the first of its
    // shares, and each has 34.
    for share in 0..4 {
        let change = [64 + 15, 4, 132, 0, 0, 36 + 34 * share, 0, 0];
        seeds.push(("coordinator_machine", [&lost[..], &change].concat()));
    }
    // It shows the other secret's share, and both.
    for how in [0, 1] {
        let change = [64 + 15, 4, 132, 1, 1, how];
        seeds.push(("coordinator_machine", [&lost[..], &change].concat()));
    }
    // It deals wrong shares to one agent; it may drop out itself then.
    for receiver in 0..4 {
        let deal = [64 + 12, 4, 128, 144, 3, receiver, 0, 2, 1];
        seeds.push(("coordinator_machine", [&deal[..], &[64 + 17, 4, 128]].concat()));
        seeds.push(("coordinator_machine", [&deal[..], &lost].concat()));
    }
    // It uploads another vector than its machine masked.
    for place in 0..6 {
        seeds.push(("coordinator_machine", vec![64 + 17, 4, 164, 0, place, 0, 1, 0]));
        seeds.push(("coordinator_machine", vec![64 + 17, 4, 164, 0, place, 0, 1, 3, 0, 40, 2]));
    }
    // A colluding coordinator certifies survivor sets that nobody voted for, before and after the
    // agent's own vote.
    for (phase, survivors) in [(6, 0x1f), (7, 0x1f), (7, 0x1d), (7, 0x0f), (8, 0x1e)] {
        let certify = [64 + phase, 0, 144, 0, 2, survivors, 0x1f];
        seeds.push(("agent_machine", certify.to_vec()));
        let vote = [64 + phase, 0, 144, 0, 1, survivors, 144, 0, 2, survivors, 0x1f];
        seeds.push(("agent_machine", [&lost[..], &vote].concat()));
    }
}

#[cfg(feature = "transport")]
fn files(seeds: &mut Vec<Seed>) {
    let (root, token) = (Digest::plain(b"root"), Digest::plain(b"token"));
    let invitation = format!(
        "agent = \"store-367\"\ncoordinator = \"127.0.0.1:7443\"\nenrolment = \"127.0.0.1:7444\"\n\
         root_fingerprint = \"{root}\"\nauthority = \"{}\"\ncoordinator_key = \"{}\"\n\
         expires_s = 1800000000\ntoken = \"{token}\"\n",
        key(1).public(),
        key(2).public(),
    );
    seeds.push(("invitation", invitation.into_bytes()));
    let list = format!(
        "{{\"tokens\":[{{\"agent\":\"store-367\",\"token_sha256\":\"{token}\",\
         \"expires_s\":1800000000}}]}}"
    );
    seeds.push(("token_list", list.into_bytes()));
    seeds.push(("certificate", include_bytes!("certificate.der").to_vec()));
}
