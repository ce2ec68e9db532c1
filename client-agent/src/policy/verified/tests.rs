//! What a writer of the policy file, without the administrator's key, tries.
#![allow(clippy::unwrap_used)]

use chorale_wire::{SecretKey, Signed};

use super::*;
use crate::policy::{Administrator, Terms};

/// An agent's folder with its administrator.
struct Store {
    dir: tempfile::TempDir,
    config: Config,
    administrator: Administrator,
}

impl Store {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agent.toml");
        let text = "agent = \"store-1\"\nfederation = \"demo\"\ncoordinator = \"127.0.0.1:1\"\n\
                    home = \"1\"\ncatalogue = \"catalogue.csv\"\nevent_sql = \"SELECT 1\"\n\
                    [[sources]]\nname = \"a\"\npath = \"a.csv\"\nformat = \"csv\"\n";
        fs::write(&path, text).unwrap();
        let config = Config::load(&path).unwrap();
        fs::create_dir(&config.keys_dir).unwrap();
        let administrator = Administrator::create(&dir.path().join("administrator.key")).unwrap();
        let store = Self { dir, config, administrator };
        store.put("epsilon_max = 1.0\n");
        store.sign(1);
        store
    }

    fn put(&self, policy: &str) {
        fs::write(&self.config.policy, policy).unwrap();
    }

    fn sign(&self, serial: u32) {
        self.sign_for("store-1", "demo", serial);
    }

    fn sign_for(&self, agent: &str, federation: &str, serial: u32) {
        let terms = Terms {
            agent: AgentId::new(agent).unwrap(),
            federation: FederationId::new(federation).unwrap(),
            serial,
            created_s: 1_512_190_800,
        };
        let (_, signature) = self.administrator.sign(&self.config.policy, terms).unwrap();
        signature.write(&self.signature()).unwrap();
    }

    fn signature(&self) -> PathBuf {
        Signature::path_of(&self.config.policy)
    }

    fn start(&self) -> Result<VerifiedPolicy, VerifyError> {
        VerifiedPolicy::enforce(&self.config, &self.administrator.public())
    }

    /// The error of a start, which must say where and what to do.
    fn refused(&self) -> VerifyError {
        let error = self.start().unwrap_err();
        assert!(!error.place().is_empty() && !error.remedy().is_empty());
        error
    }
}

#[test]
fn a_signed_policy_is_obeyed() {
    let store = Store::new();
    assert!(store.signature().ends_with("policy.toml.sig"));
    let verified = store.start().unwrap();
    assert_eq!(verified.rules().epsilon_max, 1.0);
    assert_eq!(verified.statement().signer(), store.administrator.public());
    // It stays what it was, and the next start looks again.
    store.put("epsilon_max = 8.0\n");
    assert_eq!(verified.rules().epsilon_max, 1.0);
    assert!(store.start().is_err());
}

#[test]
fn an_unsigned_policy_is_refused() {
    let store = Store::new();
    fs::remove_file(store.signature()).unwrap();
    let error = store.refused();
    assert!(matches!(error, VerifyError::Unsigned { .. }), "{error}");
    assert!(error.remedy().contains("policy sign") && error.remedy().contains("policy.toml.sig"));
    fs::create_dir(store.signature()).unwrap();
    assert!(matches!(store.refused(), VerifyError::SignatureFile(SignatureFileError::Io { .. })));
    fs::remove_file(&store.config.policy).unwrap();
    assert!(matches!(store.refused(), VerifyError::Policy(_)));
}

#[test]
fn every_changed_byte_of_a_policy_is_noticed() {
    let store = Store::new();
    let good = fs::read(&store.config.policy).unwrap();
    for position in 0..good.len() {
        let mut bent = good.clone();
        bent[position] ^= 1;
        fs::write(&store.config.policy, bent).unwrap();
        assert!(matches!(store.refused(), VerifyError::Changed { .. }), "byte {position}");
    }
    // Spaces and comments count as well: what is signed is the file, not what it means.
    store.put("epsilon_max = 1.0\n# nothing\n");
    assert!(matches!(store.refused(), VerifyError::Changed { .. }));
}

#[test]
fn every_changed_byte_of_a_signature_is_noticed() {
    let store = Store::new();
    let good = fs::read(store.signature()).unwrap();
    for position in 0..good.len() {
        // One bit, and the other case of the same digit.
        for bit in [1, 0x20] {
            let mut bent = good.clone();
            bent[position] ^= bit;
            fs::write(store.signature(), bent).unwrap();
            let error = store.refused();
            assert!(
                matches!(
                    error,
                    VerifyError::SignatureFile(_)
                        | VerifyError::ForeignKey { .. }
                        | VerifyError::Forged { .. }
                ),
                "byte {position}: {error}"
            );
        }
    }
    let mut longer = good.clone();
    longer.push(b'\n');
    for other in [&longer[..], &good[..good.len() - 1], b"", b"\n"] {
        fs::write(store.signature(), other).unwrap();
        assert!(matches!(store.refused(), VerifyError::SignatureFile(_)));
    }
}

#[test]
fn a_foreign_key_loosens_nothing() {
    let store = Store::new();
    let intruder = Store::new();
    store.put("epsilon_max = 99.0\n");
    let terms = Terms {
        agent: store.config.agent.clone(),
        federation: store.config.federation.clone(),
        serial: 2,
        created_s: 0,
    };
    let (_, signature) = intruder.administrator.sign(&store.config.policy, terms.clone()).unwrap();
    signature.write(&store.signature()).unwrap();
    assert!(matches!(store.refused(), VerifyError::ForeignKey { .. }));
    // The file may claim the right key; the signature cannot.
    let statement = PolicyStatement::new(terms, Digest::plain(b"epsilon_max = 99.0\n"));
    let intruders = SecretKey::from_seed(&[9; 32]);
    let signed = Signed::sign(&statement, &intruders).unwrap();
    Signature::new(store.administrator.public(), signed).write(&store.signature()).unwrap();
    assert!(matches!(store.refused(), VerifyError::Forged { .. }));
    // A public key beside the agent's keys is nobody's word: the membership's counts.
    fs::copy(intruder.dir.path().join("administrator.pub"), store.dir.path().join("keys/a.pub"))
        .unwrap();
    assert!(store.start().is_err());
}

#[test]
fn another_agents_or_federations_policy_is_refused() {
    let store = Store::new();
    store.sign_for("store-2", "demo", 2);
    assert!(matches!(store.refused(), VerifyError::OtherAgent { .. }));
    store.sign_for("store-1", "elsewhere", 2);
    assert!(matches!(store.refused(), VerifyError::OtherFederation { .. }));
    store.sign_for("store-1", "demo", 2);
    store.start().unwrap();
}

#[test]
fn an_older_policy_is_not_put_back() {
    let store = Store::new();
    store.put("epsilon_max = 8.0\n");
    store.sign(1);
    let loose = [fs::read(&store.config.policy).unwrap(), fs::read(store.signature()).unwrap()];
    store.start().unwrap();
    store.put("epsilon_max = 0.5\n");
    store.sign(2);
    // Only to look does not count as obeying.
    VerifiedPolicy::check(&store.config, &store.administrator.public()).unwrap();
    let current = [fs::read(&store.config.policy).unwrap(), fs::read(store.signature()).unwrap()];
    let put = |files: &[Vec<u8>; 2]| {
        fs::write(&store.config.policy, &files[0]).unwrap();
        fs::write(store.signature(), &files[1]).unwrap();
    };
    put(&loose);
    store.start().unwrap();
    put(&current);
    store.start().unwrap();
    // From here on number 1 is history, for every later start.
    put(&loose);
    for _ in 0..2 {
        let error = store.refused();
        let outdated =
            matches!(error, VerifyError::Seen(SeenError::Outdated { serial: 1, seen: 2, .. }));
        assert!(outdated, "{error}");
        assert!(error.remedy().contains("--serial 3"), "{}", error.remedy());
        assert!(VerifiedPolicy::check(&store.config, &store.administrator.public()).is_err());
    }
    // A second policy under the same number is no way round.
    store.sign(2);
    assert!(matches!(store.refused(), VerifyError::Seen(SeenError::Ambiguous { serial: 2, .. })));
    put(&current);
    assert_eq!(store.start().unwrap().rules().epsilon_max, 0.5);
}

#[test]
fn a_damaged_memory_of_policies_stops_the_agent() {
    let store = Store::new();
    store.start().unwrap();
    let path = store.config.keys_dir.join("policy-demo.toml");
    let good = fs::read_to_string(&path).unwrap();
    for bad in ["", "serial = 0\npolicy = \"00\"\n", "serial = 1\n", "serial = -1\npolicy = \"\"\n"]
    {
        fs::write(&path, bad).unwrap();
        assert!(matches!(store.refused(), VerifyError::Seen(SeenError::Malformed { .. })), "{bad}");
    }
    fs::write(&path, good).unwrap();
    store.start().unwrap();
    fs::remove_dir_all(&store.config.keys_dir).unwrap();
    let error = store.refused();
    assert!(matches!(error, VerifyError::Seen(SeenError::Io { .. })), "{error}");
}

#[test]
fn each_federation_has_its_own_numbers() {
    let store = Store::new();
    store.sign(7);
    store.start().unwrap();
    store.sign_for("store-1", "other", 1);
    let config = Config { federation: FederationId::new("other").unwrap(), ..store.config.clone() };
    VerifiedPolicy::enforce(&config, &store.administrator.public()).unwrap();
    store.sign(6);
    assert!(store.start().is_err());
}

#[test]
fn a_statement_of_another_version_is_refused() {
    let store = Store::new();
    let terms = Terms {
        agent: store.config.agent.clone(),
        federation: store.config.federation.clone(),
        serial: 1,
        created_s: 0,
    };
    let policy = Digest::plain(&fs::read(&store.config.policy).unwrap());
    let statement = PolicyStatement { version: 2, ..PolicyStatement::new(terms, policy) };
    let key = crate::keys::Key::read(&store.dir.path().join("administrator.key")).unwrap();
    let key = SecretKey::from_seed(key.as_bytes());
    let signed = Signed::sign(&statement, &key).unwrap();
    Signature::new(key.public(), signed).write(&store.signature()).unwrap();
    assert!(matches!(store.refused(), VerifyError::Version { version: 2, .. }));
}

#[test]
fn nonsense_is_neither_signed_nor_obeyed() {
    let store = Store::new();
    store.put("epsilon_max = -1.0\n");
    let terms = Terms {
        agent: store.config.agent.clone(),
        federation: store.config.federation.clone(),
        serial: 0,
        created_s: 0,
    };
    let sign = |terms| store.administrator.sign(&store.config.policy, terms).map(|_| ());
    assert!(sign(terms.clone()).unwrap_err().to_string().contains("not signed"));
    store.put("");
    assert!(sign(terms.clone()).unwrap_err().to_string().contains("begins at 1"));
    sign(Terms { serial: 1, ..terms }).unwrap();
}
