//! Sign-offs: the compliance key's word for each plan, without which no round of it runs.
//!
//! The key belongs to whoever answers for the data, not to the coordinator's operator: it is made
//! and used on a machine of its own, with the configuration and the catalogue beside it. What
//! comes back is a file of signatures.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use chorale_plan::{Plan, SignOff};
use chorale_wire::{Digest, FederationId, PublicKey, SecretKey, Signature};
use rand_core::CryptoRng;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{config::Config, error::RunError, service};

/// Why a sign-off could not be made or used.
#[derive(Debug, thiserror::Error)]
pub enum SignOffError {
    /// A file cannot be used.
    #[error("cannot {action} {path}: check the path and its permissions")]
    File {
        /// What was attempted.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// A key is never overwritten.
    #[error("{path} exists already and is not overwritten: choose another name")]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// Not 64 hexadecimal digits.
    #[error(
        "{path} does not hold a key of 64 hexadecimal digits: make it with `coordinator plan keygen`"
    )]
    Key {
        /// The file.
        path: PathBuf,
    },
    /// Not what `plan sign` writes.
    #[error("{path} is no file of sign-offs: make it anew with `coordinator plan sign`")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What the reader says.
        #[source]
        source: serde_json::Error,
    },
    /// A plan that nobody signed off, or another version of it.
    #[error(
        "plan '{plan}' ({digest}) is not signed off by the compliance key {compliance}, as {path} \
         stands: show it to the compliance officer, who runs `coordinator plan sign`"
    )]
    Unsigned {
        /// The plan.
        plan: String,
        /// Its digest.
        digest: Digest,
        /// Whose word is needed.
        compliance: PublicKey,
        /// The file of sign-offs.
        path: PathBuf,
    },
    /// A sign-off could not be encoded: a defect.
    #[error("a sign-off could not be encoded")]
    Encode(#[from] chorale_wire::EncodeError),
}

/// The file of sign-offs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    federation: FederationId,
    compliance: String,
    plans: Vec<Line>,
}

/// One plan's sign-off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    plan: String,
    digest: String,
    signature: String,
}

/// What the compliance key has signed off for one federation.
#[derive(Clone, Debug)]
pub(crate) struct SignOffs {
    path: PathBuf,
    federation: FederationId,
    compliance: PublicKey,
    lines: Vec<(Digest, Signature)>,
}

impl SignOffs {
    /// Reads the compliance key and what it has signed off. A file that is not there signs nothing
    /// off.
    pub(crate) fn open(config: &Config) -> Result<Self, SignOffError> {
        let path = config.sign_off.clone();
        let compliance = public_key(&config.compliance)?;
        let lines = match fs::read(&path) {
            Ok(bytes) => {
                serde_json::from_slice::<File>(&bytes)
                    .map_err(|source| SignOffError::Malformed { path: path.clone(), source })?
                    .plans
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(source) => return Err(SignOffError::File { action: "read", path, source }),
        };
        let read = |line: &Line| Some((Digest::parse(&line.digest)?, signature(&line.signature)?));
        let lines = lines.iter().filter_map(read).collect();
        Ok(Self { path, federation: config.federation.clone(), compliance, lines })
    }

    pub(crate) fn compliance(&self) -> PublicKey {
        self.compliance
    }

    /// The signature that lets `plan` run.
    pub(crate) fn of(&self, plan: &Plan) -> Result<Signature, RunError> {
        let digest = plan.digest()?;
        let sign_off = SignOff { federation: self.federation.clone(), plan: digest };
        let found = self.lines.iter().find(|(signed, signature)| {
            *signed == digest && sign_off.is_signed(&self.compliance, *signature)
        });
        let unsigned = || SignOffError::Unsigned {
            plan: plan.name.clone(),
            digest,
            compliance: self.compliance,
            path: self.path.clone(),
        };
        Ok(found.ok_or_else(unsigned)?.1)
    }
}

/// Makes a compliance key: the secret half in `path`, for its owner only, the public half beside it
/// with the ending `pub`.
///
/// # Errors
/// [`SignOffError`]; nothing is overwritten.
pub fn keygen<R: CryptoRng + ?Sized>(path: &Path, rng: &mut R) -> Result<PathBuf, SignOffError> {
    let public = path.with_extension("pub");
    for path in [path, &public] {
        if path.exists() {
            return Err(SignOffError::Exists { path: path.into() });
        }
    }
    let key = SecretKey::generate(rng);
    let seed = key.to_seed();
    let text: Zeroizing<String> = Zeroizing::new(
        seed.iter().map(|byte| format!("{byte:02x}")).chain(["\n".to_string()]).collect(),
    );
    write(path, text.as_bytes(), 0o600)?;
    write(&public, format!("{}\n", key.public()).as_bytes(), 0o644)?;
    Ok(public)
}

/// Signs every plan of a configuration off with the key in `key`, and gives what was signed: name
/// and digest of each.
///
/// # Errors
/// [`RunError`] when a plan cannot run, or a file cannot be used.
pub fn sign(config: &Config, key: &Path, out: &Path) -> Result<Vec<(String, Digest)>, RunError> {
    let key = secret_key(key)?;
    let mut lines = Vec::new();
    let mut signed = Vec::new();
    for plan in service::plans(config)? {
        let digest = plan.digest()?;
        let sign_off = SignOff { federation: config.federation.clone(), plan: digest };
        let signature = sign_off.sign(&key).map_err(SignOffError::from)?;
        lines.push(Line {
            plan: plan.name.clone(),
            digest: digest.to_string(),
            signature: signature.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect(),
        });
        signed.push((plan.name, digest));
    }
    let (federation, compliance) = (config.federation.clone(), key.public().to_string());
    let file = File { federation, compliance, plans: lines };
    let text = serde_json::to_string_pretty(&file)
        .map_err(|source| SignOffError::Malformed { path: out.into(), source })?;
    fs::write(out, text + "\n").map_err(failed("write", out))?;
    Ok(signed)
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SignOffError {
    move |source| SignOffError::File { action, path: path.into(), source }
}

fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), SignOffError> {
    use std::io::Write as _;
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
    options
        .open(path)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .map_err(failed("write", path))
}

fn public_key(path: &Path) -> Result<PublicKey, SignOffError> {
    let text = fs::read_to_string(path).map_err(failed("read", path))?;
    PublicKey::parse(text.trim()).ok_or_else(|| SignOffError::Key { path: path.into() })
}

/// The compliance officer's key from its file.
pub(crate) fn secret_key(path: &Path) -> Result<SecretKey, SignOffError> {
    let text = Zeroizing::new(fs::read_to_string(path).map_err(failed("read", path))?);
    let seed = Digest::parse(text.trim()).ok_or_else(|| SignOffError::Key { path: path.into() })?;
    Ok(SecretKey::from_seed(seed.as_bytes()))
}

fn signature(text: &str) -> Option<Signature> {
    let (first, second) = text.split_at_checked(64)?;
    let (first, second) = (Digest::parse(first)?, Digest::parse(second)?);
    let mut bytes = [0; 64];
    bytes[..32].copy_from_slice(first.as_bytes());
    bytes[32..].copy_from_slice(second.as_bytes());
    Some(Signature::from_bytes(bytes))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use rand_core::SeedableRng as _;

    use super::*;

    const CATALOGUE: &str =
        concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/complete-journey/catalogue.csv");

    fn config(folder: &Path, persons_max: u32) -> Config {
        let path = folder.join("coordinator.toml");
        let text = format!(
            "federation = \"retail\"\nagents = 12\ncatalogue = {CATALOGUE:?}\nstate = \"state\"\n\
             keys = \"keys\"\nlisten = \"127.0.0.1:7443\"\n[privacy]\nepsilon = 4.0\n\
             [cohort]\nenrolled = 12\nsurvivors_min = 10\n[[plan]]\nname = \"popular\"\n\
             task = \"popularity\"\nrounds = 1\npersons_max = {persons_max}\n\
             events_before_s = 1512190800\n"
        );
        fs::write(&path, text).unwrap();
        Config::load(&path).unwrap()
    }

    fn rng() -> rand_chacha::ChaCha20Rng {
        rand_chacha::ChaCha20Rng::from_seed([3; 32])
    }

    #[test]
    fn a_plan_runs_as_it_was_signed_off_and_not_otherwise() {
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join("compliance.key");
        keygen(&key, &mut rng()).unwrap();
        assert!(matches!(keygen(&key, &mut rng()), Err(SignOffError::Exists { .. })));
        let config_1 = config(folder.path(), 128);
        let plan = service::plans(&config_1).unwrap().remove(0);
        let unsigned = SignOffs::open(&config_1).unwrap().of(&plan).unwrap_err();
        assert!(matches!(unsigned, RunError::SignOff(SignOffError::Unsigned { .. })), "{unsigned}");
        let signed = sign(&config_1, &key, &config_1.sign_off).unwrap();
        assert_eq!(signed, [("popular".to_string(), plan.digest().unwrap())]);
        let sign_offs = SignOffs::open(&config_1).unwrap();
        sign_offs.of(&plan).unwrap();
        // With room for more persons it is another plan.
        let other = service::plans(&config(folder.path(), 129)).unwrap().remove(0);
        let error = sign_offs.of(&other).unwrap_err();
        let said = std::error::Error::source(&error).unwrap().to_string();
        assert!(said.contains("popular") && said.contains("plan sign"), "{said}");
        // Nor does another key's word count.
        let stranger = folder.path().join("stranger.key");
        keygen(&stranger, &mut rand_chacha::ChaCha20Rng::from_seed([4; 32])).unwrap();
        sign(&config_1, &stranger, &config_1.sign_off).unwrap();
        assert!(SignOffs::open(&config_1).unwrap().of(&plan).is_err());
    }

    #[cfg(unix)]
    #[test]
    fn the_secret_half_is_its_owners_only() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join("compliance.key");
        let public = keygen(&key, &mut rng()).unwrap();
        assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(public_key(&public).unwrap(), secret_key(&key).unwrap().public());
    }
}
