//! What a crash left behind, resolved before anything else happens.

use chorale_task::Model;
use chorale_wire::{SecretKey, message::AbortCause};

use crate::{
    driver::now_s, error::RunError, programme::Programme, records::Records, state::{Position, State},
};

/// Brings state and ledger together and gives the position and the model to go on with.
///
/// - A RESERVE without an end becomes an ABORT whose charge stands: masked vectors may have left.
/// - A RELEASE whose position was only written aside is carried out: the aside position counts.
/// - A round that the ledger knows and the state does not (or the other way round) spends its
///   number, so that none is used twice.
pub(crate) fn recover(
    state: &State,
    records: &mut Records,
    programme: &Programme,
    key: &SecretKey,
) -> Result<(Position, Model), RunError> {
    for round in records.open_rounds() {
        tracing::warn!(%round, "the round was open when the coordinator stopped; it is aborted and charged");
        records.abort(round, AbortCause::Stopped, true, false, key, now_s())?;
    }
    let mut position = state.position()?;
    if let Some(aside) = state.aside()?
        && aside.round == position.round
        && aside != position
        && records.released(aside.round)?
    {
        tracing::warn!(round = aside.round, "a released round had not been counted; it is now");
        position = aside;
        state.save(&position)?;
    }
    let model = match position.model {
        Some(digest) => Model::decode(&state.load_model(&digest)?)?,
        None => programme.initial_model()?,
    };
    Ok((position, model))
}
