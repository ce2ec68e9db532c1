//! The SQL on a Ballista cluster: one address, one kind of connection, and nothing left behind that
//! the agent can take away.
//!
//! What leaves this program is the query's plan; what comes back are its rows. Everything goes to
//! the scheduler, which passes the rows on itself (its embedded Flight proxy), so that an agent
//! opens connections to one machine and can tell whom it talks to.

use std::{
    error::Error,
    fs,
    sync::{Arc, OnceLock},
    time::Duration,
};

use ballista_core::{
    execution_plans::DistributedQueryExec,
    extension::{SessionConfigExt, SessionStateExt},
    serde::protobuf::{
        CancelJobParams, CleanJobDataParams, scheduler_grpc_client::SchedulerGrpcClient,
    },
};
use datafusion::{
    common::DataFusionError,
    execution::{SessionStateBuilder, context::SessionContext, runtime_env::RuntimeEnv},
    physical_plan::{ExecutionPlan, SendableRecordBatchStream, execute_stream},
    prelude::{DataFrame, SessionConfig},
};
use datafusion_proto::protobuf::LogicalPlanNode;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use crate::{Cluster, ObserveError};

type Failed = Box<dyn Error + Send + Sync>;

/// For a connection, between signs of life on one, and for an answer to a word that is no query.
const PATIENCE: Duration = Duration::from_secs(10);

/// The scheduler, and how to talk to it.
#[derive(Clone, Debug)]
pub(super) struct Scheduler {
    /// `host:port`.
    address: String,
    endpoint: Endpoint,
    /// Why a connection was refused that the scheduler asked for.
    refused: Arc<OnceLock<String>>,
}

/// A query on the cluster.
pub(super) struct Job {
    scheduler: Scheduler,
    plan: Arc<dyn ExecutionPlan>,
}

impl Scheduler {
    /// Reads the certificates; opens no connection yet.
    pub(super) fn of(host: &str, port: u16, cluster: &Cluster) -> Result<Self, ObserveError> {
        let address = format!("{host}:{port}");
        let wrong = |source: Failed| ObserveError::Cluster { address: address.clone(), source };
        let endpoint = endpoint(host, &address, cluster).map_err(wrong)?;
        Ok(Self { address, endpoint, refused: Arc::default() })
    }

    /// What it means that reading stopped and the library said `message`.
    pub(super) fn stopped(&self, message: &str) -> ObserveError {
        let said = self.refused.get().map_or(before_values(message), String::as_str);
        self.failed(said.to_owned())
    }

    fn failed(&self, source: impl Into<Failed>) -> ObserveError {
        ObserveError::Cluster { address: self.address.clone(), source: source.into() }
    }

    /// Whether it can be talked to; before there is a query, all of an error may be shown.
    pub(super) async fn reach(&self) -> Result<(), ObserveError> {
        self.endpoint.connect().await.map(drop).map_err(|error| self.failed(error))
    }

    /// A context whose queries run on the cluster. `runtime` is for what is planned here.
    pub(super) fn context(
        &self,
        cluster: &Cluster,
        runtime: Arc<RuntimeEnv>,
    ) -> Result<SessionContext, DataFusionError> {
        let this = self.clone();
        let config = SessionConfig::new_with_ballista()
            .with_target_partitions(usize::from(cluster.partitions))
            .with_ballista_job_name("events")
            .with_ballista_override_create_grpc_client_endpoint(Arc::new(move |endpoint| {
                this.instead_of(&endpoint)
            }));
        let state = SessionStateBuilder::new()
            .with_default_features()
            .with_config(config)
            .with_runtime_env(runtime)
            .build()
            .upgrade_for_ballista(format!("http://{}", self.address))?;
        Ok(SessionContext::new_with_state(state))
    }

    /// The one endpoint there is, in place of what the library would connect to; an error where
    /// that is another machine.
    fn instead_of(&self, other: &Endpoint) -> Result<Endpoint, Failed> {
        let asked = other.uri().authority().map(|authority| authority.as_str());
        if asked == Some(self.address.as_str()) {
            return Ok(self.endpoint.clone());
        }
        let said = format!(
            "the scheduler sends its clients to {}, and an agent talks to {} alone; start the \
             scheduler with --enable-embedded-flight-proxy",
            asked.unwrap_or("nowhere"),
            self.address
        );
        Err(self.refused.get_or_init(|| said).as_str().into())
    }

    /// Plans the query; it runs when the stream is read.
    pub(super) async fn start(
        &self,
        frame: DataFrame,
    ) -> Result<(SendableRecordBatchStream, Job), DataFusionError> {
        let task = Arc::new(frame.task_ctx());
        let plan = frame.create_physical_plan().await?;
        let job = Job { scheduler: self.clone(), plan: Arc::clone(&plan) };
        Ok((execute_stream(plan, task)?, job))
    }
}

impl Job {
    /// Its number at the scheduler, once it has one.
    pub(super) fn id(&self) -> Option<String> {
        let query = self.plan.downcast_ref::<DistributedQueryExec<LogicalPlanNode>>()?;
        query.job_id().map(|id| id.to_string())
    }

    /// Lets the cluster delete what it wrote down for this query, and stop it where it is not
    /// `finished`.
    pub(super) async fn end(&self, finished: bool) -> Result<(), Failed> {
        let Some(job_id) = self.id() else { return Ok(()) };
        let endpoint = self.scheduler.endpoint.clone().timeout(PATIENCE);
        let channel: Channel = endpoint.connect().await?;
        let mut scheduler = SchedulerGrpcClient::new(channel);
        if !finished {
            scheduler.cancel_job(CancelJobParams { job_id: job_id.clone() }).await?;
        }
        scheduler
            .clean_job_data(CleanJobDataParams { job_id, remove_stage_ids: Vec::new() })
            .await?;
        Ok(())
    }
}

fn endpoint(host: &str, address: &str, cluster: &Cluster) -> Result<Endpoint, Failed> {
    let scheme = if cluster.ca.is_some() { "https" } else { "http" };
    let endpoint = Endpoint::from_shared(format!("{scheme}://{address}"))?
        .connect_timeout(PATIENCE)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(PATIENCE)
        .keep_alive_timeout(PATIENCE)
        .keep_alive_while_idle(true);
    let Some(ca) = &cluster.ca else { return Ok(endpoint) };
    let read = |path: &std::path::Path| {
        fs::read(path).map_err(|error| format!("{} cannot be read: {error}", path.display()))
    };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let mut tls =
        ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(ca)?)).domain_name(bare);
    if let (Some(certificate), Some(key)) = (&cluster.certificate, &cluster.key) {
        tls = tls.identity(Identity::from_pem(read(certificate)?, read(key)?));
    }
    Ok(endpoint.tls_config(tls)?)
}

/// The text up to the first quote: a cluster's errors quote others that quote, and which quote ends
/// which cannot be told.
fn before_values(text: &str) -> &str {
    let end = text.find(['\'', '"', '`', '\\']).unwrap_or(text.len());
    text[..end].trim_end_matches([' ', '(', ':'])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn no_connection_to_another_machine() {
        let scheduler = Scheduler::of("localhost", 50050, &Cluster::default()).unwrap();
        let asked = |uri: &'static str| scheduler.instead_of(&Endpoint::from_static(uri));
        assert_eq!(asked("http://localhost:50050").unwrap().uri(), scheduler.endpoint.uri());
        for uri in ["http://localhost:50051", "http://10.0.0.9:50050", "http://localhost"] {
            let said = asked(uri).unwrap_err().to_string();
            assert!(said.contains("--enable-embedded-flight-proxy"), "{said}");
        }
        let stopped = scheduler.stopped("something else").to_string();
        assert!(stopped.contains("localhost:50050"), "{stopped}");
    }

    #[test]
    fn values_in_values_are_not_shown() {
        let said = r#"Job 7 failed: Execution("ArrowError(CastError(\"C-77 \\\"C-78\\\" C-79"#;
        assert_eq!(before_values(said), "Job 7 failed: Execution");
    }
}
