//! What is on the disks while nobody writes to them.

use std::{collections::BTreeMap, fs, path::Path};

use chorale_client_agent::features::PersonRecord;
use chorale_plan::Pseudonym;
use chorale_tests::Federation;

/// How every customer's raw id begins.
const CUSTOMER: &str = "HOUSEHOLD-";

/// How every item's name begins. The catalogue is public within a federation, purchases are not.
const ITEM: &str = "SMOKED EEL";

/// The files that a store brings: the only ones with raw ids.
const RECEIPTS: &str = "receipts.csv";

/// What every agent knew of its customers before the first round.
pub(super) struct Known(Vec<BTreeMap<Pseudonym, PersonRecord>>);

impl Known {
    pub(super) fn of(federation: &Federation, agents: u32) -> Self {
        let persons = |agent| federation.open_store(agent).persons().unwrap();
        let known = Self((0..agents).map(persons).collect());
        assert!(known.0.iter().all(|persons| !persons.is_empty()));
        known
    }

    /// An agent that is not running has every customer as before, and a whole profile of each.
    pub(super) fn check(&self, federation: &Federation, agent: u32) {
        let store = federation.open_store(agent);
        let (known, profiles) = (&self.0[agent as usize], store.profiles().unwrap());
        assert!(store.persons().unwrap() == *known, "agent {agent} lost customers");
        assert!(profiles.keys().eq(known.keys()), "agent {agent} lost profiles");
    }
}

/// No file of any agent, of the coordinator or of a log holds a raw id, and none of an agent's own
/// an item's name. The files that the stores brought do, which shows that the search finds them.
pub(super) fn search(federation: &Federation, agents: u32) {
    let mut receipts = 0;
    visit(federation.root(), &mut |path, bytes| {
        if path.ends_with(RECEIPTS) {
            assert!(holds(bytes, CUSTOMER) && holds(bytes, ITEM));
            receipts += 1;
        } else {
            assert!(!holds(bytes, CUSTOMER), "{} holds a raw id", path.display());
        }
    });
    assert_eq!(receipts, agents);
    for agent in 0..agents {
        visit(&federation.agent_config(agent).data_dir, &mut |path, bytes| {
            assert!(!holds(bytes, ITEM), "{} holds an item's name", path.display());
        });
    }
}

fn visit(folder: &Path, each: &mut impl FnMut(&Path, &[u8])) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            visit(&path, each);
            continue;
        }
        match fs::read(&path) {
            Ok(bytes) => each(&path, &bytes),
            // Others still run, and their temporary files come and go.
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::NotFound),
        }
    }
}

fn holds(bytes: &[u8], needle: &str) -> bool {
    bytes.windows(needle.len()).any(|window| window == needle.as_bytes())
}
