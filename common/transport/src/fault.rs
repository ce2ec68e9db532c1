//! Why a connection failed or ended, in words that say what to do.

use quinn::{ConnectionError, ReadError, ReadExactError, VarInt, WriteError};

use crate::tls::CertificateError;

/// Codes with which one side closes a connection, and what they mean to the other.
pub(crate) mod close {
    use quinn::VarInt;

    pub(crate) const GOODBYE: VarInt = VarInt::from_u32(0);
    pub(crate) const REPLACED: VarInt = VarInt::from_u32(1);
    pub(crate) const NOT_ADMITTED: VarInt = VarInt::from_u32(2);
    pub(crate) const SLOW: VarInt = VarInt::from_u32(3);
    pub(crate) const PROTOCOL: VarInt = VarInt::from_u32(4);
    pub(crate) const DISMISSED: VarInt = VarInt::from_u32(5);
}

/// Why a connection could not be made, or ended. "The peer" is the coordinator to an agent and
/// the agent to a coordinator.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionFault {
    /// The host name has no address.
    #[error("the address '{address}' cannot be resolved: check its spelling and the DNS")]
    Resolve {
        /// As configured.
        address: String,
        /// What the resolver says.
        #[source]
        source: std::io::Error,
    },
    /// No local socket.
    #[error("no UDP socket can be opened on this machine")]
    Socket(#[source] std::io::Error),
    /// Nobody answers.
    #[error(
        "nobody answers at '{address}' over QUIC: is the coordinator running, and does the \
         firewall let UDP through?"
    )]
    Unreachable {
        /// As configured.
        address: String,
    },
    /// The own certificate is not usable any more.
    #[error(transparent)]
    OwnCertificate(CertificateError),
    /// TLS cannot be set up here.
    #[error("TLS cannot be set up on this side")]
    Tls(#[source] crate::tls::TlsError),
    /// The peer says that our certificate has expired.
    #[error(
        "the peer refused our certificate because it has expired: ask the enrolment authority \
         for a new invitation and enrol again"
    )]
    OurCertificateExpired,
    /// The peer refuses our certificate.
    #[error(
        "the peer refused our certificate ({detail}): it must come from the enrolment authority \
         whose root the peer pins; enrol again"
    )]
    OurCertificateRefused {
        /// The TLS alert.
        detail: &'static str,
    },
    /// The peer's certificate has expired.
    #[error(
        "the peer's certificate has expired: its owner must have it renewed by the enrolment \
         authority; if it should still be valid, check this machine's clock"
    )]
    PeerCertificateExpired,
    /// The peer's certificate does not come from the pinned root.
    #[error("the peer's certificate is not one of the pinned root ({detail}): wrong peer?")]
    PeerCertificateRefused {
        /// What TLS says.
        detail: String,
    },
    /// No common version, key exchange or protocol.
    #[error(
        "no common protocol: both sides need TLS 1.3, X25519MLKEM768 and the same protocol \
         version ({detail})"
    )]
    Incompatible {
        /// What TLS says.
        detail: String,
    },
    /// The coordinator does not know this agent.
    #[error("the coordinator does not admit this agent or its key: {reason}")]
    NotAdmitted {
        /// The coordinator's words.
        reason: String,
    },
    /// A newer connection of the same agent took over.
    #[error(
        "a newer connection of the same agent took over: does a second process run with this \
         agent's keys?"
    )]
    Replaced,
    /// The peer did not take what was sent to it.
    #[error("the peer is too slow: {what}")]
    Slow {
        /// What piled up.
        what: String,
    },
    /// The peer broke the protocol.
    #[error("the peer broke the protocol: {what}")]
    Protocol {
        /// How.
        what: String,
    },
    /// We broke the protocol in the peer's eyes.
    #[error("the peer says that this side broke the protocol: {what}")]
    OurProtocol {
        /// The peer's words.
        what: String,
    },
    /// The peer closed in good order.
    #[error("the peer closed the connection: {reason}")]
    Closed {
        /// The peer's words.
        reason: String,
    },
    /// This side closed in good order.
    #[error("closed by this side")]
    ClosedHere,
    /// Silence, or the peer was restarted.
    #[error("the connection was lost ({detail})")]
    Lost {
        /// What the network says.
        detail: String,
    },
}

impl ConnectionFault {
    pub(crate) fn protocol(what: impl Into<String>) -> Self {
        Self::Protocol { what: what.into() }
    }

    /// The code and words with which this side closes because of this fault.
    pub(crate) fn closing(&self) -> (VarInt, String) {
        match self {
            Self::Slow { .. } => (close::SLOW, self.to_string()),
            Self::Protocol { .. } => (close::PROTOCOL, self.to_string()),
            Self::Replaced => (close::REPLACED, String::new()),
            _ => (close::GOODBYE, String::new()),
        }
    }
}

impl From<ConnectionError> for ConnectionFault {
    fn from(error: ConnectionError) -> Self {
        match error {
            ConnectionError::ApplicationClosed(closed) => {
                let reason: String =
                    String::from_utf8_lossy(&closed.reason).chars().take(512).collect();
                match closed.error_code {
                    close::REPLACED => Self::Replaced,
                    close::NOT_ADMITTED => Self::NotAdmitted { reason },
                    close::SLOW => Self::Slow { what: format!("says the other side: {reason}") },
                    close::PROTOCOL => Self::OurProtocol { what: reason },
                    _ if reason.is_empty() => Self::Closed { reason: "no reason given".into() },
                    _ => Self::Closed { reason },
                }
            }
            ConnectionError::ConnectionClosed(closed) => {
                from_alert(u64::from(closed.error_code), &closed.to_string(), false)
            }
            ConnectionError::TransportError(error) => {
                from_alert(u64::from(error.code), &error.to_string(), true)
            }
            ConnectionError::LocallyClosed => Self::ClosedHere,
            ConnectionError::VersionMismatch => {
                Self::Incompatible { detail: "QUIC version".into() }
            }
            other => Self::Lost { detail: other.to_string() },
        }
    }
}

/// TLS alerts travel in QUIC as error codes 0x100 to 0x1ff (RFC 9001, section 4.8). The side
/// that noticed tells whose certificate is meant.
fn from_alert(code: u64, detail: &str, noticed_here: bool) -> ConnectionFault {
    if code & !0xff != 0x100 {
        return ConnectionFault::Lost { detail: detail.to_owned() };
    }
    match ((code & 0xff) as u8, noticed_here) {
        (45, true) => ConnectionFault::PeerCertificateExpired,
        (45, false) => ConnectionFault::OurCertificateExpired,
        (42..=44 | 46 | 48 | 49 | 51 | 116, true) => {
            ConnectionFault::PeerCertificateRefused { detail: detail.to_owned() }
        }
        (alert @ (42..=44 | 46 | 48 | 49 | 51 | 116), false) => {
            ConnectionFault::OurCertificateRefused {
                detail: match alert {
                    48 => "unknown authority",
                    116 => "none was shown",
                    44 => "revoked",
                    _ => "not valid",
                },
            }
        }
        _ => ConnectionFault::Incompatible { detail: detail.to_owned() },
    }
}

impl From<ReadError> for ConnectionFault {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::ConnectionLost(lost) => lost.into(),
            other => Self::Lost { detail: other.to_string() },
        }
    }
}

impl From<ReadExactError> for ConnectionFault {
    fn from(error: ReadExactError) -> Self {
        match error {
            ReadExactError::ReadError(error) => error.into(),
            ReadExactError::FinishedEarly(_) => Self::Lost { detail: error.to_string() },
        }
    }
}

impl From<WriteError> for ConnectionFault {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::ConnectionLost(lost) => lost.into(),
            other => Self::Lost { detail: other.to_string() },
        }
    }
}
