//! The tokens' file as it is now: a token that is taken out stops working without a restart.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use crate::tokens::{Caller, TokenError, Tokens};

/// The file is looked at so often at most.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Who may call, by a file that may change.
#[derive(Debug)]
pub(crate) struct Callers {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// When the file was last looked at, since any fixed instant.
    looked: Duration,
    /// What the file looked like as it was read; `None` makes the next look read it.
    stamp: Option<Stamp>,
    tokens: Tokens,
}

/// Differs when the file was written or replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stamp {
    Absent,
    Present { modified: Option<std::time::SystemTime>, length: u64, number: u64 },
}

impl Callers {
    /// The callers that the file names.
    ///
    /// # Errors
    /// [`TokenError`] when it cannot be read.
    pub(crate) fn read(path: &Path) -> Result<Self, TokenError> {
        // First, so that a change in the meantime is seen at the next look.
        let stamp = Stamp::of(path).ok();
        let tokens = Tokens::read(path)?;
        let state = State { looked: Duration::ZERO, stamp, tokens };
        Ok(Self { path: path.into(), state: Mutex::new(state) })
    }

    /// The caller with this token at `now` (since any fixed instant). While the file cannot be
    /// read, nobody may call.
    pub(crate) fn caller(&self, token: &str, now: Duration) -> Option<Caller> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_sub(state.looked) >= LOOK_EVERY {
            state.looked = now;
            self.look(&mut state);
        }
        state.tokens.caller(token)
    }

    fn look(&self, state: &mut State) {
        let stamp = Stamp::of(&self.path);
        if let (Ok(now), Some(then)) = (&stamp, &state.stamp)
            && now == then
        {
            return;
        }
        let read = stamp
            .map_err(|source| TokenError::File { path: self.path.clone(), source })
            .and_then(|stamp| Ok((stamp, Tokens::read(&self.path)?)));
        match read {
            Ok((stamp, tokens)) => {
                tracing::info!(tokens = tokens.list().count(), "the tokens were read again");
                *state = State { stamp: Some(stamp), tokens, ..*state };
            }
            Err(error) => {
                tracing::error!(%error, "the tokens cannot be read: nobody may call");
                *state = State { stamp: None, tokens: Tokens::default(), ..*state };
            }
        }
    }
}

impl Stamp {
    fn of(path: &Path) -> io::Result<Self> {
        let metadata = match fs::metadata(path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::Absent),
            Err(error) => return Err(error),
        };
        #[cfg(unix)]
        let number = std::os::unix::fs::MetadataExt::ino(&metadata);
        #[cfg(not(unix))]
        let number = 0;
        let modified = metadata.modified().ok();
        Ok(Self::Present { modified, length: metadata.len(), number })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::tokens::Role;

    #[test]
    fn the_file_counts_as_it_is_now_and_nobody_may_call_without_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokens.toml");
        let shop = Tokens::add(&path, "shop", Role::Application).unwrap();
        let callers = Callers::read(&path).unwrap();
        let mut seconds = 0;
        let mut may = |token: &str| {
            seconds += 1;
            callers.caller(token, Duration::from_secs(seconds))
        };
        let caller = may(&shop).unwrap();
        // A token in front of it takes nothing away, and its number stays.
        let auditor = Tokens::add(&path, "auditor", Role::Auditor).unwrap();
        assert!(may(&auditor).is_some());
        Tokens::revoke(&path, "shop").unwrap();
        assert_eq!(may(&shop), None);
        assert!(may(&auditor).is_some());
        let good = fs::read(&path).unwrap();
        fs::write(&path, "token = 7").unwrap();
        assert_eq!(may(&auditor), None);
        fs::write(&path, &good).unwrap();
        assert!(may(&auditor).is_some());
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert_eq!(may(&auditor), None);
        fs::remove_dir(&path).unwrap();
        assert_eq!(may(&auditor), None);
        fs::write(&path, &good).unwrap();
        assert!(may(&auditor).is_some());
        assert_ne!(may(&auditor).unwrap().number, caller.number);
    }
}
