//! What a crash left behind, resolved before anything else happens.

use chorale_task::Model;
use chorale_wire::{SecretKey, message::AbortCause};

use crate::{
    driver::now_s,
    error::RunError,
    programme::Programme,
    records::Records,
    state::{Position, State},
};

/// Brings state and ledger together and gives the position and the model to go on with.
///
/// - A RESERVE without an end becomes an ABORT whose charge stands: masked vectors may have left.
/// - A RELEASE whose position was only written aside is carried out: the aside position counts.
/// - A round number that the state knows and the ledger does not stays used.
pub(crate) fn recover(
    state: &State,
    records: &mut Records,
    programme: &Programme,
    key: &SecretKey,
) -> Result<(Position, Model), RunError> {
    for round in records.open_rounds() {
        tracing::warn!(%round, "the round was open when the coordinator stopped; it is aborted and charged");
        // Nobody knows any more how far it came: the ledger says the worst.
        records.abort(round, AbortCause::Stopped, true, true, key, now_s())?;
    }
    let mut position = state.position()?;
    if let Some(aside) = state.aside()? {
        // An epoch may have begun since the round; its number stays used.
        let counted = Position { epoch: aside.epoch.max(position.epoch), ..aside };
        if counted.round == position.round
            && counted != position
            && records.released(counted.round)?
        {
            tracing::warn!(
                round = counted.round,
                "a released round had not been counted; it is now"
            );
            position = counted;
            state.save(&position)?;
        }
    }
    let model = match position.model {
        Some(digest) => Model::decode(&state.load_model(&digest)?)?,
        None => programme.initial_model()?,
    };
    // Between plans another catalogue begins with a new model.
    let model = match (*model.catalogue() == programme.catalogue(), position.step) {
        (true, _) => model,
        (false, 0) => programme.initial_model()?,
        (false, steps) => {
            return Err(RunError::CatalogueMidPlan { plan: position.plan + 1, steps });
        }
    };
    Ok((position, model))
}
