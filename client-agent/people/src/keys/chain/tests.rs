#![allow(clippy::unwrap_used)]
use std::{fs, sync::Arc};

use super::*;

struct Agent {
    dir: tempfile::TempDir,
    unlock: Unlock,
}

impl Agent {
    fn new() -> Self {
        let agent = Self { dir: tempfile::tempdir().unwrap(), unlock: Unlock::default() };
        Key::create(&agent.path("store.key")).unwrap();
        Key::create(&agent.path("pseudonym.key")).unwrap();
        agent
    }

    /// Another agent with the same pseudonym keys.
    fn linked(&self) -> Self {
        let other = Self::new();
        fs::copy(self.path("pseudonym.key"), other.path("pseudonym.key")).unwrap();
        other
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn open(&self) -> NameKeys {
        NameKeys::open(&self.path("pseudonym.key"), &self.unlock).unwrap()
    }

    fn rotation(&self) -> Result<NameRotation, KeyError> {
        let (data, names) = (self.path("data"), self.path("pseudonym.key"));
        NameRotation::open(&data, &self.path("store.key"), &names, &self.unlock)
    }

    fn rotate(&self, to: Option<NameKeys>) -> Result<usize, KeyError> {
        let mut rotation = self.rotation()?;
        rotation.begin(to)?;
        rotation.finish()
    }

    fn text(&self) -> String {
        fs::read_to_string(self.path("pseudonym.key")).unwrap()
    }

    fn write(&self, text: &str) {
        replace(&self.path("pseudonym.key"), text.as_bytes(), Readers::Owner).unwrap();
    }
}

fn name(names: &Pseudonymiser) -> [u8; 32] {
    *names.person("42").as_bytes()
}

#[test]
fn one_key_is_a_chain_and_a_rotation_adds_to_it() {
    let agent = Agent::new();
    let first = Key::read(&agent.path("pseudonym.key")).unwrap();
    let keys = agent.open();
    assert_eq!((keys.count(), keys.is_pending()), (1, false));
    let before = keys.names().unwrap();
    assert_eq!(name(&before), name(&Pseudonymiser::new(&first)));

    let mut rotation = agent.rotation().unwrap();
    rotation.begin(None).unwrap();
    let after = name(&rotation.keys().all());
    // As after a crash: nobody gets names, and the same keys go on.
    drop(rotation);
    let keys = agent.open();
    assert_eq!((keys.count(), keys.is_pending()), (1, true));
    assert!(matches!(keys.names(), Err(KeyError::Pending { .. })));
    assert_eq!(name(&keys.all()), after);
    let rotation = agent.rotation().unwrap();
    assert!(rotation.keys().is_pending());
    rotation.finish().unwrap();

    let keys = agent.open();
    assert_eq!((keys.count(), keys.is_pending()), (2, false));
    let names = keys.names().unwrap();
    assert_eq!(name(&names), after);
    assert_ne!(name(&names), name(&before));
    assert!(names.since(&before.mark()).is_some());
    // What reads one key alone does not take a chain for it.
    let alone = Key::read(&agent.path("pseudonym.key"));
    assert!(matches!(alone, Err(KeyError::Malformed { .. })));
    agent.rotate(None).unwrap();
    assert_eq!(agent.open().count(), 3);
}

#[test]
fn a_rotation_needs_the_agent_for_itself() {
    let agent = Agent::new();
    let store_key = agent.path("store.key");
    let held = StoreKey::open(&agent.path("data"), &store_key, &agent.unlock).unwrap();
    assert!(matches!(agent.rotation(), Err(KeyError::InUse { .. })));
    drop(held);
    agent.rotate(None).unwrap();
}

#[test]
fn linked_agents_come_to_the_same_names() {
    let one = Agent::new();
    let two = one.linked();
    let nothing = two.rotate(Some(one.open()));
    assert!(matches!(nothing, Err(KeyError::NothingNew { .. })));
    one.rotate(None).unwrap();
    one.rotate(None).unwrap();
    two.rotate(Some(one.open())).unwrap();
    assert_eq!(one.text(), two.text());
    assert!(matches!(one.rotate(Some(two.open())), Err(KeyError::NothingNew { .. })));

    // Cut short, it goes on with the same file, and with a longer one.
    one.rotate(None).unwrap();
    two.rotation().unwrap().begin(Some(one.open())).unwrap();
    two.rotation().unwrap().begin(Some(one.open())).unwrap();
    assert!(two.open().is_pending());
    one.rotate(None).unwrap();
    two.rotate(Some(one.open())).unwrap();
    assert_eq!((one.text(), two.open().count()), (two.text(), 5));

    // What is not finished there is not begun here.
    one.rotation().unwrap().begin(None).unwrap();
    let pending = two.rotate(Some(one.open()));
    assert!(matches!(pending, Err(KeyError::Pending { .. })));
    // Shorter, forked and strange files are refused, and change nothing.
    one.rotation().unwrap().finish().unwrap();
    two.rotate(None).unwrap();
    let before = two.text();
    let forked = two.rotate(Some(one.open()));
    assert!(matches!(forked, Err(KeyError::OtherChain { .. })));
    let strange = two.rotate(Some(Agent::new().open()));
    assert!(matches!(strange, Err(KeyError::OtherChain { .. })));
    assert_eq!(two.text(), before);
}

#[test]
fn a_sealed_chain_opens_with_its_key_alone_and_no_line_can_be_moved() {
    let mut agent = Agent::new();
    let over = Arc::new(Key::from_bytes([1; 32]));
    let key = Key::read(&agent.path("pseudonym.key")).unwrap();
    agent.rotate(None).unwrap();
    let named = name(&agent.open().names().unwrap());
    let mut keys = agent.open();
    keys.rewrap(Wrap::key_file(Arc::clone(&over))).unwrap();
    let clear = hex::encode(key.as_bytes());
    assert!(!agent.text().contains(&clear));
    let locked = NameKeys::open(&agent.path("pseudonym.key"), &agent.unlock);
    assert!(matches!(locked, Err(KeyError::Locked { .. })));
    agent.unlock = Unlock::default().with_key(over);
    assert_eq!(name(&agent.open().names().unwrap()), named);

    // New keys are sealed as those before.
    agent.rotate(None).unwrap();
    agent.rotation().unwrap().begin(None).unwrap();
    let text = agent.text();
    assert_eq!(text.matches("chorale-key/1 key-file ").count(), 4);
    let keys = agent.open();
    assert_eq!(
        (keys.count(), keys.is_pending(), keys.wrap().text()),
        (3, true, "sealed with a key file")
    );
    let lines: Vec<&str> = text.lines().collect();
    let [first, two, three, last] = lines[..] else { panic!("{text}") };
    for moved in [
        format!("{first}\n{three}\n{two}\n{last}\n"),
        format!("{first}\n{three}\n{last}\n"),
        format!("{first}\n{two}\n{three}\n{}\n", last.replace("pending", "then")),
        format!("{first}\n{two}\n{}\n{last}\n", three.replace("then", "pending")),
        format!("{first}\n{two}\n{last}\n{three}\n"),
        format!("{}\n{first}\n", two.replace("then ", "")),
        format!("{first}\n{first}\n"),
        format!("{first}\nafter {first}\n"),
    ] {
        agent.write(&moved);
        let opened = NameKeys::open(&agent.path("pseudonym.key"), &agent.unlock);
        assert!(opened.is_err(), "{moved}");
    }
    agent.write(&text);
    agent.rotation().unwrap().finish().unwrap();
    assert_eq!(agent.open().count(), 4);
}
