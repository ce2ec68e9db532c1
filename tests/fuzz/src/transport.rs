//! What stores and coordinators read from files and certificates before anything is trusted.

use std::path::Path;

use chorale_transport::{CertificateFacts, Invitation, TokenList};

use crate::Verdict;

/// An invitation file.
pub fn invitation(data: &[u8]) -> Verdict {
    let Ok(text) = std::str::from_utf8(data) else { return Verdict::Refused };
    match Invitation::parse(text, Path::new("invitation.toml")) {
        Ok(invitation) => {
            let shown = format!("{invitation:?}");
            assert!(shown.contains("redacted"), "the token is shown: {shown}");
            assert!(!invitation.file_name().contains('/'), "a name that leads elsewhere");
            let again =
                Invitation::parse(&invitation.to_text().expect("it was read"), Path::new(""));
            let again = again.expect("its own text");
            assert_eq!(again.token_digest(), invitation.token_digest());
            assert_eq!(again.to_text().ok(), invitation.to_text().ok());
            Verdict::Accepted
        }
        Err(error) => {
            // The error goes to a terminal: it must not repeat the secret.
            if let Some(token) = text.split("token = \"").nth(1).and_then(|rest| rest.get(..64)) {
                let all_hex = token.bytes().all(|byte| byte.is_ascii_hexdigit());
                let repeated = text.matches(token).count() > 1;
                assert!(!all_hex || repeated || !error.to_string().contains(token), "{error}");
            }
            Verdict::Refused
        }
    }
}

/// The coordinator's list of open invitations.
pub fn token_list(data: &[u8]) -> Verdict {
    let Ok(text) = std::str::from_utf8(data) else { return Verdict::Refused };
    let Ok(list) = TokenList::parse(text, Path::new("tokens.json")) else {
        return Verdict::Refused;
    };
    for entry in &list.tokens {
        // An entry admits its own token until it expires, if what stands there is a digest at all.
        if let Some(digest) = chorale_wire::Digest::parse(&entry.token_sha256)
            && digest.to_string() == entry.token_sha256
        {
            assert!(list.admits(&entry.agent, &digest, entry.expires_s));
        }
    }
    Verdict::Accepted
}

/// A certificate in DER, as a peer shows it in the handshake.
pub fn certificate(data: &[u8]) -> Verdict {
    let Ok(facts) = CertificateFacts::read(data) else { return Verdict::Refused };
    assert!(!facts.name.is_empty());
    if let Ok(agent) = facts.agent() {
        assert_eq!(agent.as_str(), facts.name);
    }
    if facts.not_before_s <= facts.not_after_s {
        assert!(facts.valid_at(facts.not_before_s).is_ok());
        assert!(facts.valid_at(facts.not_after_s).is_ok());
    }
    Verdict::Accepted
}
