//! Two enrolled agents as processes, linked by their stores' signed policies: what one tells the other
//! about a customer who agreed.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::{
    fs,
    path::Path,
    time::{Duration, UNIX_EPOCH},
};

use chorale_client_agent::{
    Config,
    policy::{Administrator, Signature, Terms},
};
use chorale_transport::{Addresses, Authority, CoordinatorKeys, StoreKeys};
use chorale_wire::AgentId;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;
use serde_json::{Value, json};
use support::{Serving, refused, run};

const CATALOGUE: &str = "index,item_id,department,category\n\
    0,APPLES,PRODUCE,FRUIT\n1,PEARS,PRODUCE,FRUIT\n2,RYE BREAD,GROCERY,BREAD\n";

const AGENTS: [&str; 2] = ["store-1", "web-shop"];

fn config(agent: &str) -> String {
    format!(
        "agent = '{agent}'\nfederation = 'demo'\ncoordinator = '127.0.0.1:7443'\nhome = '1'\n\
         catalogue = 'catalogue.csv'\nevent_sql = '''SELECT day AS event_time, customer AS person,\n\
         '1' AS home_store, 'purchase' AS kind, item FROM receipts'''\n\
         [[sources]]\nname = 'receipts'\npath = 'receipts.csv'\nformat = 'csv'\n"
    )
}

fn now_s() -> u64 {
    UNIX_EPOCH.elapsed().unwrap().as_secs()
}

/// Keys and certificates, by the authority itself.
fn enrol(root: &Path) {
    let (now_s, mut rng) = (now_s(), ChaCha20Rng::from_seed([7; 32]));
    let mut authority = Authority::create(&root.join("authority"), now_s, &mut rng).unwrap();
    let keys = CoordinatorKeys::generate(&root.join("coordinator"), &mut rng).unwrap();
    let bundle = authority.issue_server(&keys.request().unwrap(), now_s, &mut rng).unwrap();
    keys.accept(&bundle, now_s).unwrap();
    let stores = AGENTS.map(|agent| (AgentId::new(agent).unwrap(), String::new()));
    let address = "127.0.0.1:7443".to_owned();
    let addresses = Addresses { coordinator: address.clone(), enrolment: address };
    let hour = Duration::from_secs(3600);
    let invitations = authority.invite(&stores, &addresses, hour, now_s, &mut rng).unwrap();
    for (agent, invitation) in AGENTS.iter().zip(&invitations) {
        let keys = StoreKeys::generate(&root.join(agent).join("keys"), &mut rng).unwrap();
        let administrator =
            Administrator::create(&root.join(agent).join("administrator.key")).unwrap().public();
        let request = keys.request(invitation, &administrator).unwrap();
        let bundle = authority.sign(&request, now_s, &mut rng).unwrap();
        keys.accept(invitation, &administrator, &bundle, now_s).unwrap();
    }
}

/// As the store's administrator does.
fn sign_policy(dir: &Path) {
    let config = Config::load(&dir.join("agent.toml")).unwrap();
    let administrator = Administrator::read(&dir.join("administrator.key")).unwrap();
    let terms =
        Terms { agent: config.agent, federation: config.federation, serial: 1, created_s: now_s() };
    let (_, signature) = administrator.sign(&config.policy, terms).unwrap();
    signature.write(&Signature::path_of(&config.policy)).unwrap();
}

#[test]
fn a_letter_goes_from_one_store_to_the_other_by_both_signed_policies() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let [store, web] = AGENTS.map(|agent| root.join(agent));
    for (agent, item) in AGENTS.iter().zip(["RYE BREAD", "PEARS"]) {
        let dir = root.join(agent);
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("agent.toml"), config(agent)).unwrap();
        fs::write(dir.join("catalogue.csv"), CATALOGUE).unwrap();
        let receipts = format!("day,customer,item\n2026-01-02,77,{item}\n2026-01-03,9,APPLES\n");
        fs::write(dir.join("receipts.csv"), receipts).unwrap();
    }
    enrol(root);
    run(&store, &["init"]);
    // The stores share the key of the pseudonyms.
    fs::copy(store.join("keys/pseudonym.key"), web.join("keys/pseudonym.key")).unwrap();
    run(&web, &["init"]);
    let entry = |dir: &Path, word: &str| {
        let entry = run(dir, &["keys", "link"]);
        entry.replace(&format!("{word} = false"), &format!("{word} = true"))
    };
    fs::write(store.join("policy.toml"), entry(&web, "give")).unwrap();
    fs::write(web.join("policy.toml"), entry(&store, "take")).unwrap();
    let tokens = [&store, &web].map(|dir| {
        run(dir, &["ingest"]);
        sign_policy(dir);
        run(dir, &["tokens", "add", "crm", "--role", "administrator"]).trim().to_owned()
    });

    // A policy that the administrator did not sign links with nobody, and nothing is served by it.
    let signed = fs::read_to_string(store.join("policy.toml")).unwrap();
    fs::write(store.join("policy.toml"), signed.replace("take = false", "take = true")).unwrap();
    let said = refused(&store, &["serve", "--listen", "127.0.0.1:0"]);
    assert!(said.contains("changed after it was signed"), "{said}");
    fs::write(store.join("policy.toml"), signed).unwrap();

    let [at_store, at_web] = [&store, &web].map(|dir| Serving::start(dir, &[]));
    let to_store = |method: &str, path: &str, body: Option<&Value>| {
        at_store.call(&tokens[0], method, path, body)
    };
    let to_web = |method: &str, path: &str, body: Option<&Value>| {
        at_web.call(&tokens[1], method, path, body)
    };
    let path = "/v1/users/77/hand-over";
    let (status, said) = to_store("POST", path, Some(&json!({"to": "web-shop"})));
    assert_eq!(status, 403, "{said}");
    to_store("PUT", "/v1/users/77/consents", Some(&json!({"hand-over": true})));
    let (status, letter) = to_store("POST", path, Some(&json!({"to": "web-shop"})));
    assert_eq!((status, &letter["items"]), (200, &json!(1)), "{letter}");
    // The web shop may take and not give; the store may give and not take.
    let back = Some(&json!({"to": "store-1"}));
    to_web("PUT", "/v1/users/77/consents", Some(&json!({"hand-over": true})));
    assert_eq!(to_web("POST", path, back).0, 403);
    let arrival = json!({"from": letter["from"], "letter": letter["letter"]});
    assert_eq!(to_store("POST", "/v1/hand-overs", Some(&arrival)).0, 403);
    let (status, taken) = to_web("POST", "/v1/hand-overs", Some(&arrival));
    assert_eq!((status, &taken["items"]), (200, &json!(1)), "{taken}");
    let (_, profile) = to_web("GET", "/v1/users/77/profile", None);
    assert_eq!(profile["knowledge"], "channel-and-linked", "{profile}");
    assert_eq!(profile["linked"][0]["items"][0]["item"], "RYE BREAD");
    let (_, other) = to_web("GET", "/v1/users/9/profile", None);
    assert_eq!(other["knowledge"], "channel-only");

    let line = |dir: &Path| -> Value {
        serde_json::from_str(&run(dir, &["data", "disclosures", "--json"])).unwrap()
    };
    let (gave, got) = (line(&store), line(&web));
    assert_eq!((gave.as_array().unwrap().len(), got.as_array().unwrap().len()), (1, 1));
    for member in ["letter", "person", "items"] {
        assert_eq!(gave[0][member], got[0][member], "{member}");
    }
    assert_eq!((&gave[0]["given"], &got[0]["given"]), (&json!(true), &json!(false)));
    // What lies on the disks is sealed.
    for dir in [&store, &web] {
        let bytes = fs::read(dir.join("data/store.redb")).unwrap();
        assert!(!bytes.windows(9).any(|window| window == b"RYE BREAD"));
    }
}
