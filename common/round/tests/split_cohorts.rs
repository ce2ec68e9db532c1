//! The coordinator shows one agent of a sparse graph another cohort than everybody else, and asks
//! the others to open that agent's self mask as if it were one of their own survivors.
//!
//! Half of the victim's honest neighbours, X, are missing in its cohort, so that it masks with the
//! others, Y, only. Everybody else is asked to certify survivors among whom the victim is and Y is
//! not: a share of the victim's self seed comes from X, and of the pairwise keys of Y from Y's
//! other neighbours. With both the victim's vector is read.
#![allow(clippy::unwrap_used)]

mod support;

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    num::NonZeroUsize,
    rc::Rc,
    sync::{Arc, LazyLock},
};

use chorale_plan::CohortRule;
use chorale_round::{
    GAMMA_PER_MILLE, VerifiedMemo,
    agent::{Action, Blame, Fault, InclusionError, Machine, SurvivorsError},
};
use chorale_secagg::{
    EpochSecrets, Graph, GraphParameters, MaskScheme as _, MaskTicket as _, MaskedSum as _,
    Modulus, Pairwise, PairwiseOpening, PairwiseSecret, RingParameters, SecretScalar, Share, graph,
    packing, shamir,
};
use chorale_wire::{
    AgentId, Digest, Epoch, Keystream, RoundNumber, SessionId, Signed, Slot, SlotSet, ToAgent,
    ToCoordinator,
    message::{
        Commit, MaskedHeader, ProvenSurvivors, Reveal, Roster, RosterCertificate, ShareKind,
        SurvivorCertificate, SurvivorVote, Survivors, Vote,
    },
};
use rand_chacha::ChaCha20Rng;
use support::{
    COORDINATES, START_MS, World, agent_id, agent_key, coordinator_key, held_back, identity,
    liar::{signatures, story},
    rng, values,
};
use zeroize::Zeroizing;

const SIZE: usize = 160;

const VICTIM: Slot = Slot(57);

/// Two thirds: half of the victim's honest neighbours may be missing at a time.
fn rule() -> CohortRule {
    let corrupt = CohortRule::corrupt_of(SIZE as u32, GAMMA_PER_MILLE);
    let mut rule = CohortRule { enrolled: SIZE as u32, corrupt, survivors_min: 0 };
    rule.survivors_min = rule.survivors_floor(SIZE as u32);
    rule
}

fn ring() -> RingParameters {
    let rule = rule();
    let dropouts = rule.dropouts(SIZE as u32) as usize;
    RingParameters::find(SIZE, rule.corrupt as usize, dropouts).unwrap()
}

/// The agents of an epoch, by slot, and all that the coordinator knows of them.
struct Federation {
    agents: Vec<(Machine, ChaCha20Rng)>,
    /// Numbers of the agents.
    names: Vec<usize>,
    epoch: Epoch,
    roster: Roster,
    graph: Graph,
    /// What each signed with its vector.
    headers: BTreeMap<Slot, Signed<MaskedHeader>>,
}

impl Federation {
    fn set_up() -> Self {
        let mut world = World::with_rule(SIZE, 1, rule());
        let memo = Arc::new(VerifiedMemo::new());
        for index in 0..SIZE {
            let machine = Machine::new(identity(index, SIZE), None, None);
            world.nodes[index].machine = machine.share_verified(memo.clone());
            world.connect(index);
        }
        world.settle_queue();
        let shown: Rc<RefCell<(Option<Roster>, Option<RosterCertificate>)>> = Rc::default();
        let seen = shown.clone();
        world.tamper = Some(Box::new(move |_, message| {
            match &message {
                ToAgent::Roster(roster) => seen.borrow_mut().0 = Some(roster.clone()),
                ToAgent::RosterCertificate(votes) => seen.borrow_mut().1 = Some(votes.clone()),
                ToAgent::RoundOpen(_) => return held_back(),
                _ => {}
            }
            message
        }));
        world.open_epoch();
        world.settle_queue();
        let epoch = world.epochs[0].0;
        let (roster, certificate) = shown.take();
        let roster = roster.unwrap();
        let nonces: Vec<[u8; 32]> = certificate.unwrap().votes.iter().map(|it| it.nonce).collect();
        let seed = graph::seed(&roster.digest(), &nonces);
        let mut names: Vec<usize> = (0..SIZE).collect();
        names.sort_by_key(|name| agent_id(*name));
        let mut nodes: Vec<Option<_>> =
            world.nodes.into_iter().map(|node| Some((node.machine, node.rng))).collect();
        Self {
            agents: names.iter().map(|name| nodes[*name].take().unwrap()).collect(),
            names,
            epoch,
            roster,
            graph: Graph::new(GraphParameters::Ring(ring()), seed),
            headers: BTreeMap::new(),
        }
    }

    fn say(&mut self, to: Slot, message: ToAgent) -> Result<Vec<Action>, Fault> {
        let (machine, rng) = &mut self.agents[to.index()];
        machine.handle(message, START_MS, rng)
    }

    /// ROUND-OPEN, READY and COMMIT for one agent; its session, and its masked vector.
    fn mask(&mut self, to: Slot, cohort: &SlotSet) -> (SessionId, Vec<u8>) {
        let mut spec = support::spec(SIZE, self.epoch, 1, 0);
        spec.plan.cohort = rule();
        let signed = Signed::sign(&spec, &coordinator_key()).unwrap();
        let spec = signed.payload_digest();
        self.say(to, ToAgent::RoundOpen(signed.into_bytes())).unwrap();
        self.agents[to.index()].0.ready().unwrap();
        let cohort = cohort.clone();
        let commit = Commit { epoch: self.epoch, round: RoundNumber(1), spec, cohort };
        let commit = Signed::sign(&commit, &coordinator_key()).unwrap();
        let Some(Action::Contribute { ticket, session, .. }) =
            self.say(to, ToAgent::Commit(commit)).unwrap().pop()
        else {
            panic!("no ticket");
        };
        let packed = ticket.mask(Zeroizing::new(values(self.names[to.index()], 1))).unwrap();
        let (digest, bytes) = (packed.digest(), packed.into_bytes());
        let header = self.agents[to.index()].0.masked(digest, bytes.len() as u64).unwrap();
        self.headers.insert(to, header);
        (session, bytes)
    }

    /// SURVIVORS, with the headers that the coordinator has.
    fn ask(&mut self, to: Slot, fixed: &Signed<Survivors>) -> Result<Signed<SurvivorVote>, Fault> {
        let survivors = fixed.peek().unwrap().survivors;
        let mut shown = self.graph.neighbours(to);
        shown.push(to);
        shown.sort();
        shown.retain(|slot| survivors.contains(*slot));
        let headers = shown.iter().map(|slot| self.headers[slot].clone()).collect();
        let proven = ProvenSurvivors { fixed: fixed.clone(), headers };
        match self.say(to, ToAgent::Survivors(proven))?.pop() {
            Some(Action::Send(ToCoordinator::SurvivorVote(vote))) => Ok(vote),
            other => panic!("{other:?}"),
        }
    }

    fn certify(&mut self, to: Slot, certificate: &SurvivorCertificate) -> Result<Reveal, Fault> {
        match self.say(to, ToAgent::SurvivorCertificate(certificate.clone()))?.pop() {
            Some(Action::Send(ToCoordinator::Reveal(reveal))) => Ok(reveal.peek().unwrap()),
            other => panic!("{other:?}"),
        }
    }

    fn key(&self, slot: Slot) -> chorale_wire::SecretKey {
        agent_key(self.names[slot.index()])
    }

    fn name(&self, slot: Slot) -> AgentId {
        agent_id(self.names[slot.index()])
    }

    fn public_pairwise(&self, slot: Slot) -> [u8; 32] {
        self.roster.adverts[slot.index()].peek().unwrap().rounds[0].pairwise
    }

    /// A corrupt agent tells the coordinator its secrets.
    fn secret_of_corrupt(&self, slot: Slot) -> PairwiseSecret {
        let mut rng = rng(self.names[slot.index()] as u64);
        EpochSecrets::generate(&mut rng, 1).unwrap().round(0).unwrap().pairwise()
    }
}

/// A secret from the shares in `reveals`, if there are enough.
fn reconstructed(
    reveals: &BTreeMap<Slot, Reveal>,
    subject: Slot,
    kind: ShareKind,
) -> Option<SecretScalar> {
    let shares: Vec<(u64, Share)> = reveals
        .iter()
        .flat_map(|(holder, reveal)| reveal.shares.iter().map(|share| (*holder, share)))
        .filter(|(_, share)| share.subject == subject && share.kind == kind)
        .map(|(holder, share)| (holder.share_point(), Share::from_bytes(&share.share).unwrap()))
        .collect();
    (shares.len() >= ring().threshold())
        .then(|| shamir::reconstruct(&shares, ring().threshold()).unwrap())
}

/// What came of the attack.
struct Record {
    /// Honest neighbours of the victim among the survivors that the others were shown.
    neighbours: BTreeSet<Slot>,
    /// Who refused to vote, and why.
    refused: BTreeMap<Slot, (AgentId, SessionId, Blame)>,
    victim: AgentId,
    /// The session that the victim is locked to.
    session: SessionId,
    /// Votes for the survivors, those of corrupt agents included.
    votes: usize,
    /// Who refused a certificate that it had not voted for.
    without_vote: BTreeSet<Slot>,
    /// What the coordinator reads of the victim's vector.
    read: Option<Vec<i64>>,
    /// The same if the victim had signed a header for the others' session too.
    read_with_header: Option<Vec<i64>>,
    vector: Vec<i64>,
}

static RECORD: LazyLock<Record> = LazyLock::new(attack);

fn attack() -> Record {
    let mut federation = Federation::set_up();
    let neighbours = federation.graph.neighbours(VICTIM);
    // As many of them are corrupt as of the whole roster.
    let corrupt_count = neighbours.len() * rule().corrupt as usize / SIZE;
    let corrupt: BTreeSet<Slot> =
        neighbours.iter().step_by(neighbours.len() / corrupt_count).copied().collect();
    let honest: Vec<Slot> =
        neighbours.iter().copied().filter(|slot| !corrupt.contains(slot)).collect();
    let half = |first: usize| -> BTreeSet<Slot> {
        honest.iter().copied().skip(first).step_by(2).collect()
    };
    let (x, y) = (half(0), half(1));
    let all_but = |gone: &BTreeSet<Slot>| {
        let slots = (0..SIZE as u16).map(Slot).filter(|slot| !gone.contains(slot));
        SlotSet::from_slots(SIZE, slots)
    };
    let everybody = all_but(&BTreeSet::new());

    // Two cohorts: the victim's is admissible in its eyes.
    let (session, masked) = federation.mask(VICTIM, &all_but(&x));
    let mut others = None;
    for slot in everybody.iter().filter(|slot| *slot != VICTIM) {
        others = Some(federation.mask(slot, &everybody).0);
    }
    let others = others.unwrap();
    assert_ne!(session, others);

    // One set of survivors, with the victim and without Y.
    let survivors = all_but(&y);
    let fixed = Survivors { session: others, survivors: survivors.clone() };
    let fixed = Signed::sign(&fixed, &coordinator_key()).unwrap();
    let asked: Vec<Slot> = survivors.iter().filter(|slot| *slot != VICTIM).collect();
    let vote =
        |slot| SurvivorVote { session: others, slot, vote: Vote::Survivors(survivors.clone()) };
    let mut votes = BTreeMap::new();
    let mut refused = BTreeMap::new();
    for slot in asked.iter().copied() {
        match federation.ask(slot, &fixed) {
            Ok(vote) => {
                votes.insert(slot, vote);
            }
            Err(_) if corrupt.contains(&slot) => {
                drop(votes.insert(slot, Signed::sign(&vote(slot), &federation.key(slot)).unwrap()));
            }
            Err(fault) => {
                let blame = fault.blame();
                let Fault::Survivors(SurvivorsError::Inclusion {
                    agent,
                    source: InclusionError::Session { given },
                }) = fault
                else {
                    panic!("{}", story(&fault));
                };
                refused.insert(slot, (agent, given, blame));
            }
        }
    }
    let counted = votes.len();

    // Were there a certificate all the same: signed here with everybody's key.
    let forged: Vec<_> = asked
        .iter()
        .map(|slot| Signed::sign(&vote(*slot), &federation.key(*slot)).unwrap())
        .collect();
    let certificate = SurvivorCertificate {
        session: others,
        survivors: survivors.clone(),
        signatures: signatures(&forged),
    };
    let mut reveals = BTreeMap::new();
    let mut without_vote = BTreeSet::new();
    for slot in asked.iter().copied() {
        match federation.certify(slot, &certificate) {
            Ok(reveal) => drop(reveals.insert(slot, reveal)),
            Err(Fault::Unexpected { message: "certificate", .. }) => {
                without_vote.insert(slot);
            }
            Err(fault) => panic!("{}", story(&fault)),
        }
    }
    let read = unmask(&federation, &reveals, &corrupt, session, &masked);

    // The victim's own signature is all that is missing.
    let mut header = federation.headers[&VICTIM].peek().unwrap();
    header.session = others;
    let header = Signed::sign(&header, &federation.key(VICTIM)).unwrap();
    federation.headers.insert(VICTIM, header);
    for slot in &without_vote {
        federation.ask(*slot, &fixed).unwrap();
        reveals.insert(*slot, federation.certify(*slot, &certificate).unwrap());
    }
    let read_with_header = unmask(&federation, &reveals, &corrupt, session, &masked);
    Record {
        neighbours: x,
        refused,
        victim: federation.name(VICTIM),
        session,
        votes: counted,
        without_vote,
        read,
        read_with_header,
        vector: values(federation.names[VICTIM.index()], 1),
    }
}

/// Takes the masks off the victim's vector, as the coordinator would, with all that was revealed
/// and the secrets of corrupt agents; `None` where a secret is missing.
fn unmask(
    federation: &Federation,
    reveals: &BTreeMap<Slot, Reveal>,
    corrupt: &BTreeSet<Slot>,
    session: SessionId,
    masked: &[u8],
) -> Option<Vec<i64>> {
    let header = federation.headers[&VICTIM].peek().unwrap();
    assert_eq!(header.digest, Digest::plain(masked));
    let public = federation.public_pairwise(VICTIM);
    let mut opening = PairwiseOpening::new(session);
    opening.survived(reconstructed(reveals, VICTIM, ShareKind::SelfSeed)?);
    // X was not in the cohort that the victim saw.
    let neighbours = federation.graph.neighbours(VICTIM).into_iter();
    for slot in neighbours.filter(|slot| corrupt.contains(slot) || !reveals.contains_key(slot)) {
        let secret = if corrupt.contains(&slot) {
            federation.secret_of_corrupt(slot)
        } else {
            PairwiseSecret::derive(&reconstructed(reveals, slot, ShareKind::PairwiseKey)?)
        };
        opening.dropped_out(slot, secret, [(VICTIM, public)]);
    }
    let mut spec = support::spec(SIZE, federation.epoch, 1, 0);
    spec.plan.cohort = rule();
    let bits = spec.derive(SIZE as u32).unwrap().modulus_bits;
    let modulus = Modulus::new(bits).unwrap();
    assert_eq!(masked.len(), packing::packed_len(COORDINATES, modulus));
    let mut sum = Pairwise::sum(COORDINATES, modulus, Keystream::default());
    sum.add_packed(masked).unwrap();
    Some(sum.open(&opening, NonZeroUsize::MIN).unwrap())
}

#[test]
fn nobody_votes_for_a_survivor_that_is_locked_to_another_session() {
    let record = &*RECORD;
    assert_eq!(record.refused.keys().copied().collect::<BTreeSet<_>>(), record.neighbours);
    for (agent, given, blame) in record.refused.values() {
        assert_eq!((agent, given), (&record.victim, &record.session));
        assert_eq!(*blame, Blame::Coordinator);
    }
    // The others hold no share of the victim's, and are too few for a certificate.
    assert!(record.votes < rule().votes_min(SIZE as u32) as usize, "{} votes", record.votes);
}

#[test]
fn a_certificate_makes_nobody_reveal_what_it_did_not_vote_for() {
    let record = &*RECORD;
    assert!(record.without_vote.is_superset(&record.neighbours));
    assert_eq!(record.read, None);
}

/// So that the tests above are about something.
#[test]
fn with_a_header_of_the_victim_its_vector_would_be_read() {
    let record = &*RECORD;
    assert_eq!(record.read_with_header.as_ref(), Some(&record.vector));
}
