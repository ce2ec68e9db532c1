//! QUIC between agents and their coordinator, enrolment, and the offline enrolment authority.
//!
//! Only this crate names quinn, rustls and rcgen. An agent's connection can send two things: a
//! [`ToCoordinator`](chorale_wire::ToCoordinator) and an [`Upload`] (a release of the gate behind
//! its signed header). A coordinator's can send two: a [`ToAgent`](chorale_wire::ToAgent) and a
//! model. There is no function that sends bytes.
//!
//! # Agent
//!
//! ```text
//! connect(AgentLinkConfig::new("host:port", credentials), rng)
//!     -> Result<(LinkSender, mpsc::Receiver<LinkEvent>), TlsError>
//! LinkSender::control(&self, ToCoordinator) -> Result<(), LinkError>       never waits
//! LinkSender::upload(&self, Upload) -> Result<(), LinkError>               never waits, resumes
//! LinkSender::traffic(&self) -> Traffic                                    bytes on the wire
//! LinkSender::close(&self).await                                           flushes
//! LinkEvent::{Connected, Disconnected{reason, retry_in}, Control(ToAgent), Model(Vec<u8>),
//!             Uploaded{session}, UploadRefused{session, reason}}
//! ```
//!
//! On every `Connected` the driver sends `ToCoordinator::Hello`: until then nothing else leaves.
//!
//! # Coordinator
//!
//! ```text
//! Server::bind(ServerConfig::new(address, credentials, admit))
//!     -> Result<(Server, mpsc::Receiver<ServerEvent>), ServerError>
//! Server::send(&self, &AgentId, &ToAgent) -> Result<(), SendError>         never waits
//! EncodedMessage::new(&ToAgent); Server::send_encoded(&self, &AgentId, &EncodedMessage)
//! Server::send_model(&self, &AgentId, Arc<Vec<u8>>) -> Result<(), SendError>
//! Server::expect_uploads(&self, SessionId, length: u64), expect_no_uploads(&self)
//! Server::disconnect(&self, &AgentId, &Reason), connected(&self), local_address(&self)
//! Server::shutdown(self).await                                             flushes
//! ServerEvent::{Connected{connection, agent, peer, tls_key}, Disconnected{connection, agent,
//!               reason}, Control{agent, message}, Vector{agent, header, bytes}}
//! ```
//!
//! # Enrolment
//!
//! ```text
//! Authority::create(folder, now_s, rng) | open(folder)
//! CoordinatorKeys::generate(folder, rng) | open(folder); request() -> Signed<ServerRequest>
//! Authority::issue_server(&Signed<ServerRequest>, now_s, rng) -> ServerBundle, pins the key
//! CoordinatorKeys::accept(&ServerBundle, now_s) -> Credentials; credentials(now_s)
//! Authority::invite(&[(AgentId, note)], &Addresses, validity, now_s, rng) -> Vec<Invitation>
//! Invitation::write(folder) | read(path);  TokenList::read(tokens.json).admits(..)
//! StoreKeys::generate(folder, rng) | open(folder); request(&Invitation, &administrator)
//! EnrolmentServer::bind(EnrolmentConfig::new(address, credentials, handler))
//! request_enrolment(address, &root_fingerprint, &Signed<EnrolmentRequest>) -> EnrolmentAnswer
//! Authority::sign(&Signed<EnrolmentRequest>, now_s, rng) -> EnrolmentBundle
//! StoreKeys::accept(&Invitation, &administrator, &EnrolmentBundle, now_s) -> Enrolment; enrolment(now_s)
//! ```
//!
//! Reading order: [`tls`], [`bounds`], `frame`, [`agent_link`], [`server`], then [`keys`],
//! [`invitation`], [`authority`], [`enrolment`].

pub mod agent_link;
pub mod authority;
pub mod bounds;
mod crowd;
mod endpoint;
pub mod enrolment;
pub mod fault;
mod files;
mod frame;
pub mod invitation;
pub mod keys;
pub mod server;
pub mod tls;
mod token;
mod traffic;
mod upload;

#[cfg(test)]
extern crate self as chorale_transport;
#[cfg(test)]
mod tests;

pub use agent_link::{AgentLinkConfig, LinkError, LinkEvent, LinkSender, connect};
pub use authority::{Addresses, Authority, AuthorityError};
pub use enrolment::{
    EnrolmentConfig, EnrolmentError, EnrolmentHandler, EnrolmentServer, request_enrolment,
};
pub use fault::ConnectionFault;
pub use files::FileError;
pub use invitation::{Invitation, TokenEntry, TokenList};
pub use keys::{CoordinatorKeys, Enrolment, KeyError, ServerBundle, ServerRequest, StoreKeys};
pub use server::{
    Admit, ArrivedVector, ConnectionId, EncodedMessage, SendError, Server, ServerConfig,
    ServerError, ServerEvent,
};
pub use tls::{CertificateError, CertificateFacts, Credentials, TlsError};
pub use traffic::Traffic;
pub use upload::Upload;
