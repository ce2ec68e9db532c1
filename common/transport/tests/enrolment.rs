//! Enrolment from the invitation to the first connection, and what an attacker on the way does.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use chorale_transport::{
    Addresses, AgentLinkConfig, Authority, AuthorityError, CoordinatorKeys, EnrolmentConfig,
    EnrolmentError, EnrolmentServer, FileError, Invitation, KeyError, StoreKeys, TokenList,
    connect, request_enrolment,
};
use chorale_wire::{
    Digest, SecretKey, Signed,
    message::{EnrolmentAnswer, EnrolmentBundle, EnrolmentRequest, Reason},
};
use rand::{SeedableRng as _, rngs::StdRng};
use support::{
    Federation, administrator, agent_id, loopback, now_s, until_connected, until_linked,
};

const HOUR: Duration = Duration::from_secs(3600);

fn invite(federation: &mut Federation, name: &str, addresses: &Addresses) -> Invitation {
    let stores = [(agent_id(name), "Main Street".to_owned())];
    let invited =
        federation.authority.invite(&stores, addresses, HOUR, now_s(), &mut federation.rng);
    invited.unwrap().remove(0)
}

fn nowhere() -> Addresses {
    Addresses { coordinator: "127.0.0.1:1".into(), enrolment: "127.0.0.1:2".into() }
}

fn store(federation: &mut Federation, name: &str) -> StoreKeys {
    StoreKeys::generate(&federation.folder.path().join(name), &mut federation.rng).unwrap()
}

/// What a coordinator keeps of an enrolment: the request, until the authority answers it.
#[derive(Default)]
struct Desk {
    asked: Option<Signed<EnrolmentRequest>>,
    answer: Option<EnrolmentBundle>,
}

#[tokio::test]
async fn from_the_invitation_to_the_first_connection() {
    let mut federation = Federation::new(40);
    let (server, mut events, port) = federation.serve();
    let desk: Arc<Mutex<Desk>> = Arc::default();
    let tokens_path = federation.authority.tokens_path();
    let at_desk = desk.clone();
    let handler = move |signed: Signed<EnrolmentRequest>| {
        let request = signed.peek().unwrap();
        let mut desk = at_desk.lock().unwrap();
        if let Some(bundle) = &desk.answer {
            return EnrolmentAnswer::Issued(Box::new(bundle.clone()));
        }
        let tokens = TokenList::read(&tokens_path).unwrap();
        if !tokens.admits(&request.agent, &request.token, now_s()) {
            return EnrolmentAnswer::Refused(Reason::new("no such invitation"));
        }
        desk.asked = Some(signed);
        EnrolmentAnswer::Pending(Reason::new("the authority has to sign"))
    };
    let config =
        EnrolmentConfig::new(loopback(0), federation.coordinator.clone(), Arc::new(handler));
    let endpoint = EnrolmentServer::bind(config).unwrap();
    let addresses = Addresses {
        coordinator: format!("127.0.0.1:{port}"),
        enrolment: endpoint.local_address().unwrap().to_string(),
    };
    // The invitation travels as a file.
    let invitation = invite(&mut federation, "store-1", &addresses);
    let path = invitation.write(&federation.folder.path().join("invitations")).unwrap();
    let invitation = Invitation::read(&path).unwrap();
    let keys = store(&mut federation, "store-1");
    assert!(matches!(keys.enrolment(now_s()), Err(KeyError::NotEnrolled { .. })));
    let request = keys.request(&invitation, &administrator()).unwrap();
    let ask = || request_enrolment(&invitation.enrolment, &invitation.root_fingerprint, &request);
    assert!(matches!(ask().await.unwrap(), EnrolmentAnswer::Pending(_)));
    // The authority signs offline.
    let asked = desk.lock().unwrap().asked.clone().unwrap();
    assert_eq!(asked, request);
    let bundle = federation.authority.sign(&asked, now_s(), &mut federation.rng).unwrap();
    desk.lock().unwrap().answer = Some(bundle);
    let EnrolmentAnswer::Issued(bundle) = ask().await.unwrap() else { panic!("not issued") };
    keys.accept(&invitation, &administrator(), &bundle, now_s()).unwrap();
    // A later start reads it from the folder.
    let keys = StoreKeys::open(&federation.folder.path().join("store-1")).unwrap();
    let enrolled = keys.enrolment(now_s()).unwrap();
    let membership = enrolled.membership.verify(&enrolled.authority).unwrap();
    assert_eq!(membership.identity, keys.identity().public());
    assert_eq!(membership.enrolled, 12);
    let config = AgentLinkConfig::new(enrolled.coordinator_address, enrolled.credentials);
    let (_sender, mut link_events) = connect(config, StdRng::seed_from_u64(1)).unwrap();
    until_linked(&mut link_events).await;
    assert_eq!(until_connected(&mut events).await, agent_id("store-1"));
    drop(server);
}

#[tokio::test]
async fn a_wrong_fingerprint_is_refused_before_anything_is_said() {
    let mut federation = Federation::new(41);
    let heard: Arc<Mutex<usize>> = Arc::default();
    let at_desk = heard.clone();
    let handler = move |_| {
        *at_desk.lock().unwrap() += 1;
        EnrolmentAnswer::Pending(Reason::new("waiting"))
    };
    let config =
        EnrolmentConfig::new(loopback(0), federation.coordinator.clone(), Arc::new(handler));
    let endpoint = EnrolmentServer::bind(config).unwrap();
    let address = endpoint.local_address().unwrap().to_string();
    let invitation = invite(&mut federation, "store-1", &nowhere());
    let request = store(&mut federation, "store-1").request(&invitation, &administrator()).unwrap();
    let wrong = Digest::plain(b"another root");
    let error = request_enrolment(&address, &wrong, &request).await.unwrap_err();
    assert!(matches!(error, EnrolmentError::WrongRoot { .. }), "{error:?}");
    assert_eq!(*heard.lock().unwrap(), 0);
    let right = invitation.root_fingerprint;
    assert!(matches!(
        request_enrolment(&address, &right, &request).await.unwrap(),
        EnrolmentAnswer::Pending(_)
    ));
    assert_eq!(*heard.lock().unwrap(), 1);
}

#[tokio::test]
async fn a_forged_request_and_too_many_requests_never_reach_the_desk() {
    let mut federation = Federation::new(42);
    let heard: Arc<Mutex<usize>> = Arc::default();
    let at_desk = heard.clone();
    let handler = move |_| {
        *at_desk.lock().unwrap() += 1;
        EnrolmentAnswer::Pending(Reason::new("waiting"))
    };
    let mut config =
        EnrolmentConfig::new(loopback(0), federation.coordinator.clone(), Arc::new(handler));
    config.per_minute = 2;
    let endpoint = EnrolmentServer::bind(config).unwrap();
    let address = endpoint.local_address().unwrap().to_string();
    let invitation = invite(&mut federation, "store-1", &nowhere());
    let request = store(&mut federation, "store-1").request(&invitation, &administrator()).unwrap();
    let other = SecretKey::from_seed(&[3; 32]);
    let forged = Signed::sign(&request.peek().unwrap(), &other).unwrap();
    let root = invitation.root_fingerprint;
    let answer = request_enrolment(&address, &root, &forged).await.unwrap();
    assert!(matches!(answer, EnrolmentAnswer::Refused(_)));
    assert_eq!(*heard.lock().unwrap(), 0);
    request_enrolment(&address, &root, &request).await.unwrap();
    let answer = request_enrolment(&address, &root, &request).await.unwrap();
    match answer {
        EnrolmentAnswer::Refused(reason) => assert!(reason.as_str().contains("too many")),
        other => panic!("{other:?}"),
    }
    assert_eq!(*heard.lock().unwrap(), 1);
}

#[test]
fn a_token_is_good_once_and_until_it_expires() {
    let mut federation = Federation::new(43);
    let keys = store(&mut federation, "store-1");
    let invitation = invite(&mut federation, "store-1", &nowhere());
    let request = keys.request(&invitation, &administrator()).unwrap();
    let late = federation.authority.sign(&request, now_s() + 7200, &mut federation.rng);
    assert!(matches!(late.unwrap_err(), AuthorityError::TokenExpired { .. }));
    federation.authority.sign(&request, now_s(), &mut federation.rng).unwrap();
    let again = federation.authority.sign(&request, now_s(), &mut federation.rng);
    assert!(matches!(again.unwrap_err(), AuthorityError::TokenUsed { .. }));
    // It is not in the coordinator's list any more.
    let tokens = TokenList::read(&federation.authority.tokens_path()).unwrap();
    assert!(!tokens.admits(&agent_id("store-1"), &invitation.token_digest(), now_s()));
    // A new invitation replaces it, and the old one stays void.
    let renewed = invite(&mut federation, "store-1", &nowhere());
    let old = federation.authority.sign(&request, now_s(), &mut federation.rng);
    assert!(matches!(old.unwrap_err(), AuthorityError::NotInvited { .. }));
    let request = keys.request(&renewed, &administrator()).unwrap();
    federation.authority.sign(&request, now_s(), &mut federation.rng).unwrap();
    assert_eq!(federation.authority.enrolled(), 12);
}

#[test]
fn the_list_is_closed_once_a_membership_names_its_length() {
    let mut federation = Federation::new(49);
    let folder = federation.folder.path().join("growing");
    let mut growing = Authority::create(&folder, now_s(), &mut federation.rng).unwrap();
    let server = CoordinatorKeys::open(&federation.folder.path().join("coordinator")).unwrap();
    growing.issue_server(&server.request().unwrap(), now_s(), &mut federation.rng).unwrap();
    let mut invite = |authority: &mut Authority, names: &[&str]| {
        let stores: Vec<_> = names.iter().map(|name| (agent_id(name), String::new())).collect();
        authority.invite(&stores, &nowhere(), HOUR, now_s(), &mut federation.rng)
    };
    let first = invite(&mut growing, &["store-1", "store-2"]).unwrap().remove(0);
    // Before anybody holds a membership, the list may grow.
    invite(&mut growing, &["store-3"]).unwrap();
    let mut rng = StdRng::seed_from_u64(49);
    let keys = StoreKeys::generate(&federation.folder.path().join("one"), &mut rng).unwrap();
    let request = keys.request(&first, &administrator()).unwrap();
    let signed = growing.sign(&request, now_s(), &mut rng).unwrap();
    assert_eq!(signed.membership.peek().unwrap().enrolled, 3);
    let refused = invite(&mut growing, &["store-4"]).unwrap_err();
    assert!(matches!(refused, AuthorityError::Closed { count: 4, places: 3 }));
    assert!(matches!(growing.reserve(9), Err(AuthorityError::Places { .. })));
    // Somebody on the list may come again, also after a restart.
    drop(growing);
    let mut reopened = Authority::open(&folder).unwrap();
    assert_eq!(reopened.enrolled(), 3);
    invite(&mut reopened, &["store-1"]).unwrap();
    assert!(invite(&mut reopened, &["store-5"]).is_err());
}

#[test]
fn places_kept_free_count_from_the_beginning() {
    let mut federation = Federation::new(50);
    let early = federation.enrol("store-1");
    let late = federation.enrol("store-2");
    for enrolment in [early, late] {
        assert_eq!(enrolment.membership.peek().unwrap().enrolled, 12);
    }
    let more = federation.authority.reserve(13);
    assert!(matches!(more, Err(AuthorityError::Places { asked: 13, .. })));
}

#[test]
fn a_relay_that_swaps_a_key_is_found_out() {
    let mut federation = Federation::new(44);
    let invitation = invite(&mut federation, "store-1", &nowhere());
    let honest = store(&mut federation, "store-1")
        .request(&invitation, &administrator())
        .unwrap()
        .peek()
        .unwrap();
    let relay = store(&mut federation, "relay");
    let relayed = relay.request(&invitation, &administrator()).unwrap().peek().unwrap();
    // The relay knows the token's digest and not the token.
    let own_identity = EnrolmentRequest { identity: relayed.identity, ..honest.clone() };
    let own_tls_key = EnrolmentRequest {
        identity: relayed.identity,
        tls_request: relayed.tls_request,
        ..honest.clone()
    };
    let own_administrator =
        EnrolmentRequest { administrator: relay.identity().public(), ..honest.clone() };
    for swapped in [own_identity, own_tls_key, own_administrator] {
        let signed = Signed::sign(&swapped, relay.identity()).unwrap();
        let refused = federation.authority.sign(&signed, now_s(), &mut federation.rng);
        assert!(matches!(refused.unwrap_err(), AuthorityError::Proof { .. }));
    }
    // The original proof under another signature.
    let signed = Signed::sign(&honest, relay.identity()).unwrap();
    let refused = federation.authority.sign(&signed, now_s(), &mut federation.rng);
    assert!(matches!(refused.unwrap_err(), AuthorityError::Signature(_)));
    assert_eq!(
        std::fs::read_dir(federation.folder.path().join("authority/issued")).unwrap().count(),
        0
    );
}

#[test]
fn a_store_refuses_an_answer_that_was_changed_on_the_way() {
    let mut federation = Federation::new(45);
    let invitation = invite(&mut federation, "store-1", &nowhere());
    let keys = store(&mut federation, "store-1");
    let request = keys.request(&invitation, &administrator()).unwrap();
    let good = federation.authority.sign(&request, now_s(), &mut federation.rng).unwrap();
    let foreign = {
        let mut other = Federation::new(46);
        let invitation = invite(&mut other, "store-1", &nowhere());
        let request = store(&mut other, "store-1").request(&invitation, &administrator()).unwrap();
        other.authority.sign(&request, now_s(), &mut other.rng).unwrap()
    };
    let changed = [
        EnrolmentBundle { coordinator: foreign.coordinator, ..good.clone() },
        EnrolmentBundle { authority: foreign.authority, ..good.clone() },
        EnrolmentBundle { tls_root: foreign.tls_root.clone(), ..good.clone() },
        EnrolmentBundle { tls_certificate: foreign.tls_certificate.clone(), ..good.clone() },
        EnrolmentBundle { membership: foreign.membership.clone(), ..good.clone() },
        foreign,
    ];
    for bundle in changed {
        assert!(keys.accept(&invitation, &administrator(), &bundle, now_s()).is_err());
        assert!(matches!(keys.enrolment(now_s()), Err(KeyError::NotEnrolled { .. })));
    }
    let accepted = keys.accept(&invitation, &keys.identity().public(), &good, now_s());
    assert!(matches!(accepted, Err(KeyError::Mismatch { what }) if what.contains("administrator")));
    let enrolled = keys.accept(&invitation, &administrator(), &good, now_s()).unwrap();
    assert_eq!(enrolled.administrator, administrator());
    let two_years = 2 * 366 * 24 * 3600;
    assert!(keys.enrolment(now_s() + two_years).is_err());
}

#[test]
fn one_coordinator_and_no_agent_of_its_name() {
    let mut federation = Federation::new(47);
    let stores = [(agent_id("coordinator"), String::new())];
    let invited =
        federation.authority.invite(&stores, &nowhere(), HOUR, now_s(), &mut federation.rng);
    assert!(matches!(invited.unwrap_err(), AuthorityError::ReservedName));
    let folder = federation.folder.path().join("second");
    let second = CoordinatorKeys::generate(&folder, &mut federation.rng).unwrap();
    let request = second.request().unwrap();
    let issued = federation.authority.issue_server(&request, now_s(), &mut federation.rng);
    assert!(matches!(issued.unwrap_err(), AuthorityError::OtherCoordinator { .. }));
    let folder = federation.folder.path().join("empty");
    let mut fresh = Authority::create(&folder, now_s(), &mut federation.rng).unwrap();
    let stores = [(agent_id("store-1"), String::new())];
    let invited = fresh.invite(&stores, &nowhere(), HOUR, now_s(), &mut federation.rng);
    assert!(matches!(invited.unwrap_err(), AuthorityError::NoCoordinator));
}

#[test]
fn keys_are_private_never_overwritten_and_survive_reopening() {
    let mut federation = Federation::new(48);
    let folder = federation.folder.path().join("store-1");
    let keys = store(&mut federation, "store-1");
    let again = StoreKeys::generate(&folder, &mut federation.rng).unwrap_err();
    assert!(matches!(again, KeyError::File(FileError::Exists { .. })));
    assert_eq!(StoreKeys::open(&folder).unwrap().identity().public(), keys.identity().public());
    let root = federation.authority.root_fingerprint();
    let public = federation.authority.public();
    let path = federation.folder.path().join("authority");
    let in_use = Authority::open(&path).unwrap_err();
    assert!(matches!(in_use, AuthorityError::File(FileError::InUse { .. })));
    drop(federation.authority);
    let reopened = Authority::open(&path).unwrap();
    assert_eq!((reopened.root_fingerprint(), reopened.public()), (root, public));
    #[cfg(unix)]
    for folder in [&folder, &path] {
        use std::os::unix::fs::PermissionsExt as _;
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let mode = entry.metadata().unwrap().permissions().mode();
            let lock = entry.file_name() == "lock";
            assert!(lock || mode & 0o077 == 0, "{:?} {mode:o}", entry.file_name());
        }
    }
}
