//! The production path of a vector: gate, upload, server.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::convert::Infallible;

use chorale_dp::{Rational, Rho};
use chorale_gate::{
    Charge, Journal, JournalRefusal, JournalState, Permit, Protection, Record, Release, Settlement,
    release,
};
use chorale_plan::{
    CohortRule, Derived, Mechanism, Parameters, Plan, Policy, Refused, RoundSpec, Shape, TaskSpec,
};
use chorale_secagg::{
    Modulus, PairwiseSecret, PairwiseTicket, SecretScalar,
    mask::{pairwise_keys, self_key},
    ticket::TicketBinding,
};
use chorale_transport::{AgentLinkConfig, LinkEvent, ServerEvent, Upload, connect};
use chorale_wire::{
    Digest, Epoch, FederationId, RoundNumber, SecretKey, SessionId, Signed, Slot, SlotSet,
    VerifiedAbort, message::MaskedHeader,
};
use rand::{SeedableRng as _, rngs::StdRng};
use support::{Federation, until, until_linked};

struct Memory(JournalState);

impl Journal for Memory {
    type Error = JournalRefusal;

    fn charge(&mut self, charge: &Charge) -> Result<(), JournalRefusal> {
        self.0.apply(&Record::Charged(charge.clone()))
    }

    fn settle(
        &mut self,
        federation: &FederationId,
        round: RoundNumber,
        settlement: Settlement,
    ) -> Result<(), JournalRefusal> {
        self.0.apply(&Record::Settled { federation: federation.clone(), round, settlement })
    }

    fn reopen(
        &mut self,
        federation: &FederationId,
        abort: &VerifiedAbort,
    ) -> Result<RoundNumber, JournalRefusal> {
        let reopened = self.0.reopening(federation, abort)?;
        let round = reopened.round();
        self.0.apply(&reopened.into()).map(|()| round)
    }

    fn spent(&self, federation: &FederationId) -> Result<Rho, JournalRefusal> {
        Ok(self.0.spent(federation))
    }
}

struct Anything;
impl Policy for Anything {
    fn admits(&self, _: &RoundSpec, _: &Derived) -> Result<(), Refused> {
        Ok(())
    }
}

/// What the gate releases for a store of four without persons: masks alone.
fn masked(coordinates: u32) -> Release {
    let spec = RoundSpec {
        federation: FederationId::new("test").unwrap(),
        epoch: Epoch(1),
        round: RoundNumber(1),
        key_index: 0,
        step: 0,
        plan: Plan {
            name: "plan".into(),
            task: TaskSpec { name: "popularity".into(), parameters: Parameters::default() },
            rounds: 1,
            mechanism: Mechanism::Unprotected,
            scale_bits: 16,
            persons_max: 4096,
            stores_max: 1,
            cohort: CohortRule { enrolled: 4, corrupt: 1, survivors_min: 4 },
            catalogue: Digest::plain(b"catalogue"),
            events_before_s: 0,
            canary_lanes: 0,
        },
        shape: Shape { coordinates, clip: Rational::one() },
        model: Digest::plain(b"model"),
        ready_within_ms: 1000,
        upload_within_ms: 1000,
        keystream: chorale_wire::Keystream::default(),
        sign_off: None,
    };
    let mut rng = StdRng::seed_from_u64(1);
    let (digest, derived) = (Digest::plain(b"spec"), spec.derive(4).unwrap());
    let mut journal = Memory(JournalState::new(Rho::new(Rational::from_integer(1)).unwrap()));
    let permit = Permit::mint(&spec, digest, &derived, &Anything, &mut journal, 0).unwrap();
    let secret = || PairwiseSecret::derive(&SecretScalar::random(&mut StdRng::seed_from_u64(2)));
    let peers = (1..4).map(|slot| {
        let scalar = SecretScalar::random(&mut StdRng::seed_from_u64(10 + u64::from(slot)));
        (Slot(slot), PairwiseSecret::derive(&scalar).public())
    });
    let cohort = SlotSet::from_slots(4, (0..4).map(Slot));
    let session = SessionId::new(Epoch(1), RoundNumber(1), &digest, &digest, &cohort);
    let pairs = pairwise_keys(session, &secret(), Slot(0), peers).unwrap();
    let binding = TicketBinding {
        session,
        spec: digest,
        coordinates: coordinates as usize,
        modulus: Modulus::new(derived.modulus_bits).unwrap(),
        keystream: spec.keystream,
    };
    let own = self_key(session, &SecretScalar::random(&mut rng));
    let ticket = PairwiseTicket::new(binding, own, pairs).unwrap();
    release(permit, &mut rng, Protection::None, ticket, |_| Ok::<(), Infallible>(())).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_of_the_gate_arrives_as_it_left() {
    let release = masked(2_000_000);
    let (session, digest, length) = (release.session(), release.digest(), release.len() as u64);
    assert!(length > 5_000_000);
    let header = MaskedHeader { session, slot: Slot(0), length, digest, noise: None };
    let header = Signed::sign(&header, &SecretKey::from_seed(&[5; 32])).unwrap();
    let mut federation = Federation::new(60);
    let (server, mut events, port) = federation.serve();
    server.expect_uploads(session, length);
    let enrolled = federation.enrol("store-1");
    let config = AgentLinkConfig::new(format!("127.0.0.1:{port}"), enrolled.credentials);
    let (sender, mut link_events) = connect(config, StdRng::seed_from_u64(1)).unwrap();
    until_linked(&mut link_events).await;
    sender.upload(Upload { header: header.clone(), release }).unwrap();
    let (received, vector) = until(&mut events, |event| match event {
        ServerEvent::Vector { header, vector, .. } => Some((header, vector)),
        _ => None,
    })
    .await;
    assert_eq!(received, header);
    assert_eq!((vector.digest(), vector.bytes().len() as u64), (digest, length));
    assert_eq!(Digest::plain(vector.bytes()), digest);
    let uploaded = until(&mut link_events, |event| match event {
        LinkEvent::Uploaded { session } => Some(session),
        _ => None,
    })
    .await;
    assert_eq!(uploaded, session);
}
