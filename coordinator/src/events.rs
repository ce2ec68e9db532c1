//! What a running coordinator tells people and machines: one event per step, no personal data.

use std::{io::Write as _, sync::Mutex};

use serde::{Deserialize, Serialize};

/// Something that happened, in the order in which it happened.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// The coordinator listens.
    Listening {
        /// For agents.
        agents: String,
        /// For enrolment.
        enrolment: Option<String>,
    },
    /// An agent's connection came or went.
    Agents {
        /// Agents connected now.
        connected: u32,
        /// Agents waited for.
        expected: u32,
    },
    /// An epoch is ready.
    Epoch {
        /// Its number.
        epoch: u64,
        /// Agents in it.
        agents: u32,
        /// Agents left out, and why.
        excluded: Vec<(String, String)>,
    },
    /// A round opened.
    RoundOpen {
        /// Its number.
        round: u64,
        /// Rounds of the programme.
        of: u64,
        /// The plan's name.
        plan: String,
    },
    /// The next round does not fit a cap before its window has moved on; nothing runs until then.
    BudgetWait {
        /// The plan's name.
        plan: String,
        /// When it fits, Unix seconds.
        until_s: u64,
        /// Which cap, and what is left of it.
        reason: String,
    },
    /// The cohort is fixed: masked vectors are on their way.
    Cohort {
        /// The round.
        round: u64,
        /// Agents in the cohort.
        agents: u32,
    },
    /// An agent does not take part.
    Refused {
        /// The round.
        round: u64,
        /// The agent.
        agent: String,
        /// Its words.
        reason: String,
    },
    /// A round is complete.
    Round {
        /// The round.
        round: u64,
        /// The plan's name.
        plan: String,
        /// The survivors.
        survivors: u32,
        /// The cohort.
        cohort: u32,
        /// Digest of the model after it.
        model: String,
        /// Bytes that arrived from all agents since the round opened.
        bytes_received: u64,
        /// Bytes that went to all agents since the round opened.
        bytes_sent: u64,
        /// Seconds since the round opened.
        seconds: f64,
    },
    /// A released round's canary lanes show less noise than its survivors owe: the coordinator
    /// stops, and keeps the model back.
    NoiseShort {
        /// The round.
        round: u64,
        /// The plan's name.
        plan: String,
    },
    /// A round ended without a result.
    Aborted {
        /// The round.
        round: u64,
        /// Why.
        reason: String,
        /// Who is to blame, where it is known.
        blamed: Vec<(String, String)>,
        /// Whether another attempt follows.
        retry: bool,
        /// How many agents voted to abort it, where their votes give its charge back.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        votes: Option<u32>,
    },
    /// All plans are done.
    Finished {
        /// Rounds completed.
        rounds: u64,
        /// Digest of the final model.
        model: String,
    },
}

/// Where events go.
#[derive(Debug)]
pub enum Reporter {
    /// To the log only.
    Log,
    /// As JSON lines to standard output, besides the log.
    Json(Mutex<std::io::Stdout>),
    /// To a program that embeds the coordinator, besides the log.
    Channel(std::sync::mpsc::Sender<Event>),
}

impl Reporter {
    /// JSON lines to standard output.
    #[must_use]
    pub fn json() -> Self {
        Self::Json(Mutex::new(std::io::stdout()))
    }

    /// Reports one event.
    pub fn report(&self, event: &Event) {
        match event {
            Event::NoiseShort { .. } => tracing::error!(?event),
            Event::Aborted { .. } | Event::Refused { .. } | Event::BudgetWait { .. } => {
                tracing::warn!(?event)
            }
            _ => tracing::info!(?event),
        }
        if let Self::Channel(to) = self
            && to.send(event.clone()).is_err()
        {
            tracing::debug!("nobody reads the events any more");
        }
        if let Self::Json(out) = self
            && let Ok(line) = serde_json::to_string(event)
            && let Ok(mut out) = out.lock()
            && let Err(error) = writeln!(out, "{line}").and_then(|()| out.flush())
        {
            tracing::warn!(%error, "an event could not be written to standard output");
        }
    }
}
