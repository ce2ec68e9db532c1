//! The place where the SQL runs, and what is said when it stops there.

use std::sync::Arc;

use datafusion::{
    common::DataFusionError,
    execution::{SendableRecordBatchStream, context::SessionContext, runtime_env::RuntimeEnv},
    prelude::{DataFrame, SessionConfig},
};

#[cfg(feature = "ballista")]
use crate::ballista;
use crate::{Engine, ObserveError, RunsOn, Settings};

/// The place where the SQL runs.
pub(super) enum Place {
    Here,
    #[cfg(feature = "ballista")]
    Cluster(ballista::Scheduler),
}

/// What is to be ended after the last row.
pub(super) enum Job {
    Here,
    #[cfg(feature = "ballista")]
    Cluster(ballista::Job),
}

impl Place {
    pub(super) fn of(settings: Settings<'_>) -> Result<Self, ObserveError> {
        match settings.runs_on {
            RunsOn::Here => Ok(Self::Here),
            #[cfg(feature = "ballista")]
            RunsOn::Ballista { host, port } => {
                ballista::Scheduler::of(host, *port, settings.cluster).map(Self::Cluster)
            }
            // A configuration that asks for it has been refused before.
            #[cfg(not(feature = "ballista"))]
            RunsOn::Ballista { host, port } => Err(ObserveError::Cluster {
                address: format!("{host}:{port}"),
                source: "this program was built without the feature 'ballista'".into(),
            }),
        }
    }

    #[cfg_attr(not(feature = "ballista"), expect(unused_variables))]
    pub(super) fn context(
        &self,
        settings: Settings<'_>,
        runtime: Arc<RuntimeEnv>,
    ) -> Result<SessionContext, DataFusionError> {
        match self {
            // One partition keeps the rows in the files' order, so that row numbers mean something.
            Self::Here => {
                let session = SessionConfig::new().with_target_partitions(1);
                Ok(SessionContext::new_with_config_rt(session, runtime))
            }
            #[cfg(feature = "ballista")]
            Self::Cluster(scheduler) => scheduler.context(settings.cluster, runtime),
        }
    }

    /// Plans the query; it runs when the stream is read.
    pub(super) async fn start(
        &self,
        frame: DataFrame,
    ) -> Result<(SendableRecordBatchStream, Job), ObserveError> {
        match self {
            Self::Here => {
                let stream = frame.execute_stream().await;
                let stream = stream.map_err(|error| ObserveError::Sql { source: said(&error) })?;
                Ok((stream, Job::Here))
            }
            #[cfg(feature = "ballista")]
            Self::Cluster(scheduler) => {
                scheduler.reach().await?;
                match scheduler.start(frame).await {
                    Ok((stream, job)) => Ok((stream, Job::Cluster(job))),
                    Err(error) => Err(self.stopped(0, &error)),
                }
            }
        }
    }

    /// Why reading stopped after `rows` rows. What the engine says may quote a value of a row, which
    /// nobody shall see.
    pub(super) fn stopped(&self, rows: u64, error: &DataFusionError) -> ObserveError {
        let message = said(error).0;
        match self {
            Self::Here => {
                let source = Engine(without_values(&message));
                match error.find_root() {
                    DataFusionError::ResourcesExhausted(_) => ObserveError::Memory { rows, source },
                    _ => ObserveError::Read { rows, source },
                }
            }
            #[cfg(feature = "ballista")]
            Self::Cluster(scheduler) => scheduler.stopped(&message),
        }
    }
}

impl Job {
    /// After the last row, or after the one at which reading stopped.
    #[cfg_attr(not(feature = "ballista"), expect(unused_variables))]
    pub(super) async fn end(&self, finished: bool) {
        match self {
            Self::Here => {}
            #[cfg(feature = "ballista")]
            Self::Cluster(job) => {
                if let Err(error) = job.end(finished).await {
                    let job = job.id().unwrap_or_default();
                    tracing::warn!(
                        job,
                        error = &*error,
                        "the cluster was not told to delete what it wrote down for this query"
                    );
                }
            }
        }
    }
}

/// The innermost message, without the engine's layers of wrapping and its backtraces.
pub(super) fn said(error: &DataFusionError) -> Engine {
    Engine(error.find_root().strip_backtrace())
}

/// The text without what stands in quotes.
fn without_values(text: &str) -> String {
    let (mut bare, mut open) = (String::new(), None);
    for c in text.chars() {
        match open {
            None => {
                bare.push(c);
                open = matches!(c, '\'' | '"').then_some(c);
                if open.is_some() {
                    bare.push('…');
                }
            }
            Some(quote) if c == quote => {
                bare.push(c);
                open = None;
            }
            Some(_) => {}
        }
    }
    bare
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_not_shown() {
        let said = "Cast error: Cannot cast string 'C-77' to \"Int64\", 'C-78";
        assert_eq!(without_values(said), "Cast error: Cannot cast string '…' to \"…\", '…");
    }
}
