//! Rosters on the sparse graph: an honest federation, and coordinators that make the worst of
//! knowing the ring. Each attack test is named after the attack.
#![allow(clippy::unwrap_used)]

mod support;

use std::{
    cell::RefCell, collections::BTreeSet, error::Error, num::NonZeroUsize, rc::Rc, sync::LazyLock,
};

use chorale_plan::{CohortRule, SPARSE_EPOCHS_MAX};
use chorale_round::{
    CertificateError, ContextError, RosterError, SetError, VoteError,
    agent::{self, Action, CommitError, Fault, Machine, SharesError, SurvivorsError},
    coordinator::{self, CoordinatorConfig, OpenEpochError, Timeouts},
};
use chorale_secagg::{
    EnvelopeContext, EpochSecrets, Graph, GraphParameters, MaskTicket as _, RingParameters,
    RoundShares, SecretScalar, WindowError, envelope, graph, shamir,
};
use chorale_wire::{
    AgentId, Digest, Epoch, RoundNumber, SessionId, Signed, Slot, SlotSet, ToAgent, ToCoordinator,
    VoterSignature,
    message::{
        Advert, Commit, EpochOpen, MaskedHeader, ProvenSurvivors, Roster, RosterCertificate,
        RosterOpening, RosterVote, ShareEnvelope, ShareKind, SurvivorCertificate, SurvivorVote,
        Survivors, Vote,
    },
};
use rand_chacha::ChaCha20Rng;
use support::{
    START_MS, World, agent_id, agent_key, coordinator_key, federation, identity, membership, rng,
    rule, values,
};
use zeroize::Zeroizing;

/// A thousand agents of which the test plays all but one: whatever the coordinator, the network
/// and 999 others do, the one agent must not be had.
struct Crowd {
    epoch: Epoch,
    /// By slot.
    names: Vec<usize>,
    secrets: Vec<EpochSecrets>,
    roster: Roster,
    rng: ChaCha20Rng,
    machine: Machine,
    own: Slot,
}

const SIZE: usize = 1_000;

/// Of a thousand agents a hundred are assumed corrupt and as many may drop out.
const SURVIVORS_MIN: u32 = 900;

impl Crowd {
    /// The one agent has advertised, and the roster of all is there.
    fn new(epoch: Epoch, seed: u64) -> Self {
        let victim = 417;
        let mut rng = rng(seed);
        let mut machine = Machine::new(identity(victim, SIZE), None, None);
        let open = EpochOpen { federation: federation(), epoch, rounds: 1 };
        let open = ToAgent::EpochOpen(Signed::sign(&open, &coordinator_key()).unwrap());
        let own = match &machine.handle(open, START_MS, &mut rng).unwrap()[..] {
            [Action::Send(ToCoordinator::Advert(advert))] => advert.clone(),
            other => panic!("{other:?}"),
        };
        let mut names: Vec<usize> = (0..SIZE).collect();
        names.sort_by_key(|name| agent_id(*name));
        let secrets: Vec<EpochSecrets> =
            names.iter().map(|_| EpochSecrets::generate(&mut rng, 1).unwrap()).collect();
        let adverts = names
            .iter()
            .zip(&secrets)
            .map(
                |(name, secrets)| {
                    if *name == victim { own.clone() } else { advert(*name, epoch, secrets) }
                },
            )
            .collect();
        let own = Slot(names.iter().position(|name| *name == victim).unwrap() as u16);
        let roster = Roster { epoch, survivors_min: SURVIVORS_MIN, adverts };
        Self { epoch, names, secrets, roster, rng, machine, own }
    }

    fn say(&mut self, message: ToAgent) -> Result<Vec<Action>, Fault> {
        self.machine.handle(message, START_MS, &mut self.rng)
    }

    fn say_roster(&mut self) -> Result<Signed<RosterVote>, Fault> {
        let roster = ToAgent::Roster(self.roster.clone());
        match self.say(roster)?.pop() {
            Some(Action::Send(ToCoordinator::RosterVote(vote))) => Ok(vote),
            other => panic!("{other:?}"),
        }
    }

    /// Everybody's vote, with the one agent's in its place.
    fn certificate(&self, own: &Signed<RosterVote>) -> RosterCertificate {
        let votes = (0..SIZE as u16).map(Slot).map(|slot| {
            let vote = RosterVote {
                federation: federation(),
                epoch: self.epoch,
                roster: self.roster.digest(),
                slot,
                nonce: if slot == self.own {
                    own.peek().unwrap().nonce
                } else {
                    *self.secrets[slot.index()].nonce()
                },
                statements: Vec::new(),
                unstated: None,
            };
            let signed = if slot == self.own { own.clone() } else { self.sign(slot, &vote) };
            RosterOpening::of(vote, signed.signature())
        });
        RosterCertificate { epoch: self.epoch, votes: votes.collect() }
    }

    fn say_certificate(
        &mut self,
        certificate: &RosterCertificate,
    ) -> Result<Vec<Signed<ShareEnvelope>>, Fault> {
        match self.say(ToAgent::RosterCertificate(certificate.clone()))?.pop() {
            Some(Action::Send(ToCoordinator::Shares(envelopes))) => Ok(envelopes),
            other => panic!("{other:?}"),
        }
    }

    fn graph(&self, certificate: &RosterCertificate) -> Graph {
        let nonces: Vec<[u8; 32]> = certificate.votes.iter().map(|vote| vote.nonce).collect();
        let parameters = GraphParameters::Ring(parameters());
        Graph::new(parameters, graph::seed(&self.roster.digest(), &nonces))
    }

    /// A valid envelope from `dealer` to `to`, whoever these are.
    fn envelope(&mut self, graph: &Graph, dealer: Slot, to: Slot) -> Signed<ShareEnvelope> {
        let context = EnvelopeContext {
            epoch: self.epoch,
            roster: self.roster.digest(),
            graph_seed: graph.seed(),
            from: dealer,
            to,
            threshold: parameters().threshold() as u32,
        };
        let point = [to.share_point()];
        let mut share = || {
            let secret = SecretScalar::random(&mut self.rng);
            shamir::split(&secret, 1, &point, &mut self.rng).unwrap().remove(0)
        };
        let shares = [RoundShares { key: share(), seed: share() }];
        let hpke = self.roster.adverts[to.index()].peek().unwrap().hpke;
        let plaintext = envelope::encode_shares(&shares);
        let (encapsulated, sealed) =
            envelope::seal(&hpke, &context, &plaintext, &mut self.rng).unwrap();
        let message = ShareEnvelope {
            epoch: context.epoch,
            roster: context.roster,
            graph_seed: context.graph_seed,
            from: dealer,
            to,
            encapsulated,
            sealed,
        };
        self.sign(dealer, &message)
    }

    fn envelopes(&mut self, graph: &Graph) -> Vec<Signed<ShareEnvelope>> {
        let own = self.own;
        graph.neighbours(own).into_iter().map(|from| self.envelope(graph, from, own)).collect()
    }

    fn sign<T: chorale_wire::Message>(&self, slot: Slot, message: &T) -> Signed<T> {
        Signed::sign(message, &agent_key(self.names[slot.index()])).unwrap()
    }
}

fn advert(name: usize, epoch: Epoch, secrets: &EpochSecrets) -> Signed<Advert> {
    let (hpke, nonce_commitment, rounds) = secrets.advert_parts();
    let membership = Signed::sign(&membership(name, SIZE), &support::authority()).unwrap();
    let advert = Advert {
        federation: federation(),
        epoch,
        agent: agent_id(name),
        membership,
        hpke,
        nonce_commitment,
        last_round: None,
        rounds,
    };
    Signed::sign(&advert, &agent_key(name)).unwrap()
}

fn parameters() -> RingParameters {
    RingParameters::find(SIZE, 100, SIZE - SURVIVORS_MIN as usize).unwrap()
}

/// A crowd whose one agent holds its keys: it and the others' ring.
struct Keyed {
    crowd: Crowd,
    graph: Graph,
    /// What the one agent signed with its vector.
    own: Option<Signed<MaskedHeader>>,
}

impl Keyed {
    fn new() -> Self {
        let mut crowd = Crowd::new(Epoch(1), 1);
        let vote = crowd.say_roster().unwrap();
        let certificate = crowd.certificate(&vote);
        crowd.say_certificate(&certificate).unwrap();
        let graph = crowd.graph(&certificate);
        let envelopes = crowd.envelopes(&graph);
        crowd.say(ToAgent::Shares(envelopes)).unwrap();
        Self { crowd, graph, own: None }
    }

    /// ROUND-OPEN and READY; returns the spec's digest.
    fn open(&mut self, survivors_min: u32) -> Result<Digest, Fault> {
        let mut spec = support::spec(SIZE, Epoch(1), 1, 0);
        spec.plan.cohort.survivors_min = survivors_min;
        let signed = Signed::sign(&spec, &coordinator_key()).unwrap();
        let digest = signed.payload_digest();
        self.crowd.say(ToAgent::RoundOpen(signed.into_bytes()))?;
        self.crowd.machine.ready()?;
        Ok(digest)
    }

    fn commit(&mut self, spec: Digest, cohort: SlotSet) -> Result<SessionId, Fault> {
        let commit = Commit { epoch: Epoch(1), round: RoundNumber(1), spec, cohort };
        let signed = Signed::sign(&commit, &coordinator_key()).unwrap();
        let Some(Action::Contribute { ticket, session, .. }) =
            self.crowd.say(ToAgent::Commit(signed))?.pop()
        else {
            panic!("no ticket");
        };
        let packed = ticket.mask(Zeroizing::new(values(417, 1))).unwrap();
        let header = self.crowd.machine.masked(packed.digest(), packed.bytes().len() as u64)?;
        self.own = Some(header);
        Ok(session)
    }

    fn survivors(
        &mut self,
        session: SessionId,
        survivors: SlotSet,
    ) -> Result<Signed<SurvivorVote>, Fault> {
        let mut shown = self.graph.neighbours(self.crowd.own);
        shown.push(self.crowd.own);
        shown.sort();
        let shown = shown.into_iter().filter(|slot| survivors.contains(*slot));
        let headers = shown.map(|slot| self.header(slot, session)).collect();
        let survivors = Survivors { session, survivors };
        let fixed = Signed::sign(&survivors, &coordinator_key()).unwrap();
        match self.crowd.say(ToAgent::Survivors(ProvenSurvivors { fixed, headers }))?.pop() {
            Some(Action::Send(ToCoordinator::SurvivorVote(vote))) => Ok(vote),
            other => panic!("{other:?}"),
        }
    }

    fn header(&self, slot: Slot, session: SessionId) -> Signed<MaskedHeader> {
        if slot == self.crowd.own {
            return self.own.clone().unwrap();
        }
        let digest = Digest::plain(&slot.0.to_be_bytes());
        self.crowd.sign(slot, &MaskedHeader { session, slot, length: 1, digest, noise: None })
    }

    /// Walks the ring from `start` by common neighbours: the slots in the order of their places.
    fn ring_from(&self, start: Slot) -> Vec<Slot> {
        // Two agents next to each other on the ring have the most neighbours in common.
        let common = |one: Slot, other: Slot| {
            let joined = |slot: &Slot| self.graph.are_neighbours(*slot, other);
            self.graph.neighbours(one).iter().filter(|slot| joined(slot)).count()
        };
        let next = |at: Slot, seen: &BTreeSet<Slot>| {
            let fresh = self.graph.neighbours(at).into_iter().filter(|slot| !seen.contains(slot));
            fresh.max_by_key(|slot| common(at, *slot))
        };
        let mut seen = BTreeSet::from([start]);
        let mut walk = vec![start];
        while let Some(slot) = next(walk[walk.len() - 1], &seen) {
            seen.insert(slot);
            walk.push(slot);
        }
        assert_eq!(walk.len(), SIZE);
        walk
    }
}

fn everybody_but(gone: &[Slot]) -> SlotSet {
    let slots = (0..SIZE as u16).map(Slot);
    SlotSet::from_slots(SIZE, slots.filter(|slot| !gone.contains(slot)))
}

fn story(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[test]
fn an_agent_of_a_thousand_deals_and_reveals_to_its_neighbours_only() {
    let mut crowd = Crowd::new(Epoch(1), 1);
    let vote = crowd.say_roster().unwrap();
    let certificate = crowd.certificate(&vote);
    let dealt = crowd.say_certificate(&certificate).unwrap();
    let graph = crowd.graph(&certificate);
    let receivers: Vec<Slot> = dealt.iter().map(|envelope| envelope.peek().unwrap().to).collect();
    assert_eq!(receivers, graph.neighbours(crowd.own));
    assert_eq!(receivers.len(), 114);

    let envelopes = crowd.envelopes(&graph);
    crowd.say(ToAgent::Shares(envelopes)).unwrap();
    let own = crowd.own;
    let mut keyed = Keyed { crowd, graph, own: None };
    let spec = keyed.open(SURVIVORS_MIN).unwrap();
    let missing = [Slot(3), receivers[7]];
    let session = keyed.commit(spec, everybody_but(&missing[..1])).unwrap();
    let survivors = everybody_but(&missing);
    let own_vote = keyed.survivors(session, survivors.clone()).unwrap();
    // T = ⌊(1000 + 100)/2⌋ + 1 votes.
    let voters: Vec<Slot> = survivors.iter().filter(|slot| *slot != own).take(550).collect();
    let mut votes: Vec<(Slot, Signed<SurvivorVote>)> = voters
        .into_iter()
        .map(|slot| {
            let vote = Vote::Survivors(survivors.clone());
            (slot, keyed.crowd.sign(slot, &SurvivorVote { session, slot, vote }))
        })
        .collect();
    votes.push((own, own_vote));
    votes.sort_by_key(|(slot, _)| *slot);
    let signatures = votes
        .into_iter()
        .map(|(slot, vote)| VoterSignature { slot, signature: vote.signature() })
        .collect();
    let certificate = SurvivorCertificate { session, survivors: survivors.clone(), signatures };
    let reveal = match keyed.crowd.say(ToAgent::SurvivorCertificate(certificate)).unwrap().pop() {
        Some(Action::Send(ToCoordinator::Reveal(reveal))) => reveal.peek().unwrap(),
        other => panic!("{other:?}"),
    };
    let subjects: Vec<Slot> = reveal.shares.iter().map(|share| share.subject).collect();
    let expected: Vec<Slot> =
        receivers.iter().copied().filter(|slot| *slot != missing[0]).collect();
    assert_eq!(subjects, expected);
    for share in reveal.shares {
        let gone = share.subject == missing[1];
        let kind = if gone { ShareKind::PairwiseKey } else { ShareKind::SelfSeed };
        assert_eq!(share.kind, kind);
    }
}

#[test]
fn drop_outs_chosen_to_cut_the_ring_are_refused() {
    let mut keyed = Keyed::new();
    let spec = keyed.open(SURVIVORS_MIN).unwrap();
    let walk = keyed.ring_from(keyed.crowd.own);
    // 28 of 57 places in a row may be missing. Half-way round, where the agent has no neighbour,
    // one more; fewer in all than a tenth of the roster.
    let far = SIZE / 2;
    let cut = everybody_but(&walk[far..far + 29]);
    assert!(walk[far..far + 29].iter().all(|slot| !keyed.graph.are_neighbours(*slot, walk[0])));
    let expected = WindowError { window: 57, present: 28, needed: 29 };
    let refused = keyed.commit(spec, cut.clone()).unwrap_err();
    assert!(
        matches!(refused, Fault::Commit(CommitError::Cohort(SetError::Window(error))) if error == expected),
        "{}",
        story(&refused)
    );

    let session = keyed.commit(spec, everybody_but(&[])).unwrap();
    // Every other of 57, on both sides of a stretch that is to be cut out: the same.
    let sparse: Vec<Slot> =
        (0..57).step_by(2).flat_map(|step| [walk[far + step], walk[far + 150 + step]]).collect();
    for set in [cut, everybody_but(&sparse)] {
        let refused = keyed.survivors(session, set).unwrap_err();
        assert!(
            matches!(refused, Fault::Survivors(SurvivorsError::Set(SetError::Window(error))) if error == expected),
            "{}",
            story(&refused)
        );
        assert_eq!(refused.blame(), agent::Blame::Coordinator);
    }
    // The state is as it was: drop-outs that cut nothing are voted for.
    keyed.survivors(session, everybody_but(&walk[far..far + 28])).unwrap();
}

#[test]
fn a_neighbourhood_below_the_threshold_is_refused() {
    let mut keyed = Keyed::new();
    let spec = keyed.open(SURVIVORS_MIN).unwrap();
    let own = keyed.crowd.own;
    let neighbours = keyed.graph.neighbours(own);
    let threshold = parameters().threshold();
    assert_eq!((neighbours.len(), threshold), (114, 57));
    let refused = keyed.commit(spec, everybody_but(&neighbours[56..])).unwrap_err();
    assert!(
        matches!(
            refused,
            Fault::Commit(CommitError::Cohort(SetError::Neighbourhood { slot, given: 56, needed: 57 }))
                if slot == own
        ),
        "{}",
        story(&refused)
    );
    let session = keyed.commit(spec, everybody_but(&[])).unwrap();
    let refused = keyed.survivors(session, everybody_but(&neighbours[56..])).unwrap_err();
    assert!(
        matches!(
            refused,
            Fault::Survivors(SurvivorsError::Set(SetError::Neighbourhood { slot, given: 56, .. }))
                if slot == own
        ),
        "{}",
        story(&refused)
    );
}

#[test]
fn more_drop_outs_than_the_graph_withstands_are_refused_with_the_round() {
    let mut keyed = Keyed::new();
    let refused = keyed.open(SURVIVORS_MIN - 1).unwrap_err();
    let Fault::Open(agent::OpenError::Context(ContextError::Survivors { given, expected })) =
        refused
    else {
        panic!("{}", story(&refused));
    };
    assert_eq!((given, expected), (899, 900));
    keyed.open(SURVIVORS_MIN + 1).unwrap();
}

#[test]
fn an_envelope_of_a_non_neighbour_is_refused() {
    let mut crowd = Crowd::new(Epoch(1), 1);
    let vote = crowd.say_roster().unwrap();
    let certificate = crowd.certificate(&vote);
    crowd.say_certificate(&certificate).unwrap();
    let graph = crowd.graph(&certificate);
    let own = crowd.own;
    let honest = crowd.envelopes(&graph);
    let stranger = (0..SIZE as u16)
        .map(Slot)
        .find(|slot| *slot != own && !graph.are_neighbours(*slot, own))
        .unwrap();
    let foreign = crowd.envelope(&graph, stranger, own);
    // In a neighbour's place.
    let mut replaced = honest.clone();
    replaced[5] = foreign.clone();
    let refused = crowd.say(ToAgent::Shares(replaced)).unwrap_err();
    assert!(matches!(refused, Fault::Shares(SharesError::Signature { .. })), "{}", story(&refused));
    // Beside them.
    let mut added = honest.clone();
    added.push(foreign);
    let refused = crowd.say(ToAgent::Shares(added)).unwrap_err();
    assert!(matches!(refused, Fault::Shares(SharesError::Count { given: 115, expected: 114 })));
    crowd.say(ToAgent::Shares(honest)).unwrap();
}

#[test]
fn grinding_the_graph_seed_is_impossible() {
    let mut crowd = Crowd::new(Epoch(1), 1);
    let vote = crowd.say_roster().unwrap();
    let honest = crowd.certificate(&vote);

    // A nonce is left out: no graph without it.
    let mut fewer = honest.clone();
    fewer.votes.remove(3);
    let refused = crowd.say_certificate(&fewer).unwrap_err();
    assert!(matches!(
        refused,
        Fault::Deal(agent::DealError::Certificate(CertificateError::Missing { given: 999, .. }))
    ));

    // A nonce is chosen after the others are known: it does not open its commitment.
    let mut chosen = honest.clone();
    let mut ground = RosterVote {
        federation: federation(),
        epoch: crowd.epoch,
        roster: crowd.roster.digest(),
        slot: Slot(3),
        nonce: chosen.votes[3].nonce,
        statements: Vec::new(),
        unstated: None,
    };
    ground.nonce[0] ^= 1;
    let signature = crowd.sign(Slot(3), &ground).signature();
    chosen.votes[3] = RosterOpening::of(ground, signature);
    let refused = crowd.say_certificate(&chosen).unwrap_err();
    assert!(
        matches!(
            refused,
            Fault::Deal(agent::DealError::Certificate(CertificateError::Vote(
                VoteError::Nonce { .. }
            )))
        ),
        "{}",
        story(&refused)
    );
    // Were it taken, another ring would come of it: every nonce decides.
    assert_ne!(crowd.graph(&honest).seed(), crowd.graph(&chosen).seed());
    let own = crowd.own;
    assert_ne!(crowd.graph(&honest).neighbours(own), crowd.graph(&chosen).neighbours(own));

    // Another draw needs another epoch number; the same one is good for one roster.
    crowd.roster.survivors_min += 1;
    let second = crowd.say(ToAgent::Roster(crowd.roster.clone())).unwrap_err();
    assert!(matches!(second, Fault::Second { message: "ROSTER", .. }), "{}", story(&second));
    crowd.roster.survivors_min -= 1;
    crowd.say_certificate(&honest).unwrap();
}

#[test]
fn drawing_graphs_until_a_bad_one_comes_ends_with_the_epoch_numbers() {
    let last = Epoch(SPARSE_EPOCHS_MAX);
    Crowd::new(last, 2).say_roster().unwrap();
    let refused = Crowd::new(Epoch(last.0 + 1), 3).say_roster().unwrap_err();
    let Fault::Roster(agent::RosterRefused::Roster(RosterError::SparseEpoch { epoch })) = refused
    else {
        panic!("{}", story(&refused));
    };
    assert_eq!(epoch, Epoch(1025));
}

#[test]
fn a_roster_whose_floors_or_graph_protect_nobody_is_refused() {
    let mut crowd = Crowd::new(Epoch(1), 1);
    crowd.roster.survivors_min = 666;
    let refused = crowd.say_roster().unwrap_err();
    assert!(story(&refused).contains("needs at least 667"), "{}", story(&refused));
    crowd.roster.survivors_min = 1_001;
    let refused = crowd.say_roster().unwrap_err();
    assert!(story(&refused).contains("more than the roster's"), "{}", story(&refused));
    crowd.roster.survivors_min = SURVIVORS_MIN;
    crowd.say_roster().unwrap();
}

// A whole federation on a ring, with malicious agents whose messages are refused before the
// honest ones are taken. It is run once; the tests below look at it from several sides.

const FEDERATION: usize = 140;
const GONE: [usize; 3] = [20, 77, 139];

/// Agents that reveal something else than their shares.
const ALTERING: std::ops::Range<usize> = 40..49;

struct Record {
    completed: Vec<coordinator::Completed>,
    /// Faults as agent and story.
    faults: Vec<(AgentId, String)>,
    envelopes: BTreeSet<usize>,
    revealed: BTreeSet<usize>,
    agent_faults: usize,
}

static RECORD: LazyLock<Record> = LazyLock::new(run_federation);

fn run_federation() -> Record {
    let mut world = World::new(FEDERATION, 1);
    let counts = Rc::new(RefCell::new((BTreeSet::new(), BTreeSet::new())));
    let seen = counts.clone();
    world.forge = Some(Box::new(move |index, message| match message {
        ToCoordinator::Shares(envelopes) => {
            seen.borrow_mut().0.insert(envelopes.len());
            if index != 4 {
                return vec![ToCoordinator::Shares(envelopes)];
            }
            // First to an agent that is no neighbour, then as it should be.
            let mut foreign = envelopes.clone();
            let mut first = foreign[0].peek().unwrap();
            let taken: Vec<Slot> =
                envelopes.iter().map(|envelope| envelope.peek().unwrap().to).collect();
            first.to =
                (0..).map(Slot).find(|slot| !taken.contains(slot) && *slot != first.from).unwrap();
            foreign[0] = Signed::sign(&first, &agent_key(index)).unwrap();
            vec![ToCoordinator::Shares(foreign), ToCoordinator::Shares(envelopes)]
        }
        ToCoordinator::Reveal(reveal) => {
            let content = reveal.peek().unwrap();
            seen.borrow_mut().1.insert(content.shares.len());
            if ALTERING.contains(&index) {
                let mut altered = content.clone();
                let other = altered.shares[0].share;
                altered.shares.iter_mut().skip(1).for_each(|share| share.share = other);
                return vec![ToCoordinator::Reveal(
                    Signed::sign(&altered, &agent_key(index)).unwrap(),
                )];
            }
            if index != 9 {
                return vec![ToCoordinator::Reveal(reveal)];
            }
            let mut foreign = content.clone();
            let taken: Vec<Slot> = content.shares.iter().map(|share| share.subject).collect();
            let stranger = (0..)
                .map(Slot)
                .find(|slot| !taken.contains(slot) && *slot != content.slot)
                .unwrap();
            foreign.shares[0].subject = stranger;
            foreign.shares.sort_by_key(|share| share.subject);
            let foreign = Signed::sign(&foreign, &agent_key(index)).unwrap();
            vec![ToCoordinator::Reveal(foreign), ToCoordinator::Reveal(reveal)]
        }
        other => vec![other],
    }));
    for index in 0..FEDERATION {
        world.connect(index);
    }
    world.settle_queue();
    world.hold_uploads = true;
    world.open_epoch();
    world.settle_queue();
    world.hold_uploads = false;
    for (index, header, bytes) in std::mem::take(&mut world.held_uploads) {
        if !GONE.contains(&index) {
            let actions = world.coordinator.upload(
                &agent_id(index),
                &header,
                &chorale_wire::Hashed::of(bytes),
                world.now_ms,
            );
            world.act(actions);
        }
    }
    world.run();
    world.assert_at_rest();
    let faults = world.faults.iter().map(|fault| (fault.agent.clone(), story(fault))).collect();
    let (envelopes, revealed) = counts.take();
    Record {
        completed: world.completed,
        faults,
        envelopes,
        revealed,
        agent_faults: world.nodes.iter().map(|node| node.faults.len()).sum(),
    }
}

#[test]
fn a_federation_on_a_ring_gives_the_exact_sum_of_its_survivors() {
    let record = &*RECORD;
    // The world compared the sum with the survivors' vectors, coordinate by coordinate.
    assert_eq!(record.completed.len(), 1);
    let survivors = record.completed[0].survivors.len();
    assert_eq!(survivors, FEDERATION - GONE.len());
    assert_eq!(record.agent_faults, 0);
    // Everybody dealt to its neighbours and revealed shares of them, of nobody else.
    let rule = rule(FEDERATION);
    let ring = RingParameters::find(FEDERATION, rule.corrupt as usize, rule.dropouts(140) as usize);
    let neighbours = ring.unwrap().neighbours();
    assert!(neighbours < FEDERATION - 1);
    assert_eq!(record.envelopes, BTreeSet::from([neighbours]));
    assert_eq!(record.revealed, BTreeSet::from([neighbours]));
}

#[test]
fn envelopes_and_shares_of_non_neighbours_are_not_taken() {
    let record = &*RECORD;
    let stories: Vec<(&str, &str)> = record
        .faults
        .iter()
        .filter(|(agent, _)| !altering().contains(agent))
        .map(|(agent, story)| (agent.as_str(), story.as_str()))
        .collect();
    assert_eq!(stories.len(), 2, "{stories:?}");
    assert_eq!(stories[0].0, "store-04");
    assert!(stories[0].1.contains("one envelope for each neighbour"), "{}", stories[0].1);
    assert_eq!(stories[1].0, "store-09");
    assert!(stories[1].1.contains("one share for each neighbour"), "{}", stories[1].1);
}

fn altering() -> Vec<AgentId> {
    ALTERING.map(agent_id).collect()
}

#[test]
fn altered_shares_in_many_neighbourhoods_are_found_and_the_sum_stays_exact() {
    let record = &*RECORD;
    assert_eq!(record.completed.len(), 1);
    let blamed: BTreeSet<&AgentId> = record
        .faults
        .iter()
        .filter(|(_, story)| story.contains("does not match the other shares"))
        .map(|(agent, _)| agent)
        .collect();
    // Once suspected, a holder is asked last: not every liar needs to be found out.
    assert!(blamed.len() >= 3, "{blamed:?}");
    assert!(blamed.iter().all(|agent| altering().contains(agent)), "{blamed:?}");
}

#[test]
fn an_epoch_that_cannot_be_is_refused_when_it_is_opened() {
    let open = |rule: CohortRule, agents: usize, rounds: u16| {
        let mut machine = coordinator::Machine::new(CoordinatorConfig {
            key: coordinator_key(),
            federation: federation(),
            authority: support::authority().public(),
            rule,
            timeouts: Timeouts::default(),
            last_epoch: Epoch(0),
            last_round: RoundNumber(0),
            certified: Vec::new(),
            threads: NonZeroUsize::MIN,
        });
        machine.open_epoch((0..agents).map(agent_id).collect(), rounds, START_MS)
    };
    // The roster message would be too long.
    let refused = open(rule(4_000), 4_000, 64).unwrap_err();
    assert!(
        matches!(refused, OpenEpochError::TooLong { agents: 4_000, rounds: 64, rounds_max: 54 }),
        "{refused}"
    );
    open(rule(4_000), 4_000, 54).unwrap();
    // A third corrupt and a third dropping out is more than a sparse graph can withstand.
    let heavy = CohortRule { enrolled: 10_000, corrupt: 3_300, survivors_min: 6_700 };
    let refused = open(heavy, 10_000, 1).unwrap_err();
    assert!(matches!(refused, OpenEpochError::Graph(_)), "{refused}");
    assert!(story(&refused).contains("raise survivors_min"));
    // Fewer than two thirds.
    let refused = open(rule(140), 4_000, 1).unwrap_err();
    assert!(matches!(refused, OpenEpochError::Agents { .. }), "{refused}");
}
