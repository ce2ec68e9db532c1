//! A federation of one round: who is there, who drops out, who is whose neighbour.

use chorale_secagg::{
    Modulus, RoundSecret, TicketBinding,
    graph::{Graph, GraphParameters},
    keys::PairwiseSecret,
};
use chorale_wire::{Digest, Epoch, Keystream, RoundNumber, SecretKey, SessionId, Slot, SlotSet};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;

use crate::AnyError;

/// Agents assumed corrupt, as a fraction of the roster.
const CORRUPT: f64 = 0.1;

/// Drop-outs that the graph withstands, at least: more where more drop out.
const DROPOUTS_WITHSTOOD: f64 = 0.1;

/// Number of agents, coordinates, drop-outs, and bits of the modulus.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting {
    pub(crate) agents: usize,
    pub(crate) coordinates: usize,
    /// Fraction of the cohort that drops out after COMMIT.
    pub(crate) dropouts: f64,
    pub(crate) bits: u8,
}

/// The cohort after COMMIT. The same seed gives the same federation.
pub(crate) struct Federation {
    pub(crate) setting: Setting,
    pub(crate) secrets: Vec<RoundSecret>,
    pub(crate) pairwise: Vec<PairwiseSecret>,
    pub(crate) publics: Vec<[u8; 32]>,
    pub(crate) identities: Vec<SecretKey>,
    pub(crate) binding: TicketBinding,
    pub(crate) survivors: SlotSet,
    by_place: Vec<Slot>,
    neighbours: Vec<Vec<Slot>>,
    /// Neighbours of each agent.
    pub(crate) degree: usize,
    /// Shamir threshold among the neighbours.
    pub(crate) share_threshold: usize,
    /// Votes in a certificate.
    pub(crate) votes: usize,
}

impl Federation {
    pub(crate) fn new(setting: Setting) -> Result<Self, AnyError> {
        let Setting { agents, coordinates, dropouts, bits } = setting;
        let mut rng = ChaCha20Rng::from_seed([7; 32]);
        let secrets: Vec<RoundSecret> =
            (0..agents).map(|_| RoundSecret::generate(&mut rng)).collect();
        let pairwise: Vec<PairwiseSecret> = secrets.iter().map(RoundSecret::pairwise).collect();
        let everybody = SlotSet::from_slots(agents, slots(agents));
        let (roster, spec) = (Digest::plain(b"roster"), Digest::plain(b"spec"));
        let session = SessionId::new(Epoch(1), RoundNumber(1), &roster, &spec, &everybody);
        let dropped = (agents as f64 * dropouts).round() as usize;
        let survivors = (0..agents)
            .filter(|index| (index + 1) * dropped / agents == index * dropped / agents)
            .map(|index| Slot(index as u16));
        let corrupt = ((agents as f64 * CORRUPT).ceil() as usize).max(1);
        let votes = (agents + corrupt) / 2 + 1;
        // Rosters on the complete graph have the threshold of the round crate; it is not named
        // here, since masks and shares are all that is measured.
        let withstood = (agents as f64 * dropouts.max(DROPOUTS_WITHSTOOD)).floor() as usize;
        let parameters = GraphParameters::find(agents, corrupt, withstood)?;
        let share_threshold = match &parameters {
            GraphParameters::Complete { .. } => (corrupt + 1).max(votes - 1),
            GraphParameters::Ring(ring) => ring.threshold(),
        };
        let graph = Graph::new(parameters, Digest::plain(b"graph"));
        Ok(Self {
            setting,
            publics: pairwise.iter().map(PairwiseSecret::public).collect(),
            identities: (0..agents).map(|_| SecretKey::generate(&mut rng)).collect(),
            secrets,
            pairwise,
            binding: TicketBinding {
                session,
                spec,
                coordinates,
                modulus: Modulus::new(bits)?,
                keystream: Keystream::Aes256Ctr,
            },
            survivors: SlotSet::from_slots(agents, survivors),
            by_place: graph.by_place(),
            neighbours: slots(agents).map(|slot| graph.neighbours(slot)).collect(),
            degree: graph.degree(),
            share_threshold,
            votes,
        })
    }

    pub(crate) fn slots(&self) -> impl Iterator<Item = Slot> + use<> {
        slots(self.setting.agents)
    }

    pub(crate) fn neighbours(&self, slot: Slot) -> impl Iterator<Item = Slot> + '_ {
        self.neighbours[slot.index()].iter().copied()
    }

    /// All slots in the order in which they stand on the graph.
    pub(crate) fn by_place(&self) -> Vec<Slot> {
        self.by_place.clone()
    }

    pub(crate) fn public(&self, slot: Slot) -> (Slot, [u8; 32]) {
        (slot, self.publics[slot.index()])
    }

    pub(crate) fn surviving_neighbours(&self, slot: Slot) -> impl Iterator<Item = Slot> + '_ {
        self.neighbours(slot).filter(|peer| self.survivors.contains(*peer))
    }

    pub(crate) fn dropped(&self) -> impl Iterator<Item = Slot> + '_ {
        self.slots().filter(|slot| !self.survivors.contains(*slot))
    }
}

fn slots(agents: usize) -> impl Iterator<Item = Slot> {
    (0..agents as u16).map(Slot)
}
