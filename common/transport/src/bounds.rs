//! Named bounds of the transport: every queue, buffer, count and wait has one.
//!
//! Sizes of messages, vectors and models are in [`chorale_wire::limits`].

use std::time::Duration;

/// Bytes of one upload chunk. After a broken connection at most the bytes in flight are sent
/// again, never the whole vector.
pub const CHUNK_BYTES: usize = 256 << 10;

/// Bytes that a peer may send on one stream before they are read: the back-pressure of a stream.
pub const STREAM_WINDOW_BYTES: u32 = 2 << 20;

/// Bytes that a peer may send on all streams of a connection before they are read, and bytes
/// that may be in flight towards it.
pub const CONNECTION_WINDOW_BYTES: u32 = 4 << 20;

/// Bytes of packets that wait in the operating system for the coordinator to read them, and as many
/// that wait to be sent: what a roster of agents sends within a moment. The system may allow less
/// (`net.core.rmem_max` on Linux); what does not fit is lost and sent again.
pub const SOCKET_BUFFER_BYTES: usize = 4 << 20;

/// Control messages that wait at an agent for the line; one more is refused to the caller.
pub const AGENT_CONTROL_QUEUE: usize = 64;

/// Events that wait for an agent's driver. When it is full, the coordinator is slowed down.
pub const AGENT_EVENT_QUEUE: usize = 16;

/// Control messages that wait at the coordinator for one agent; one more and the agent is
/// disconnected as too slow.
pub const SERVER_CONTROL_QUEUE: usize = 256;

/// Bytes of control messages that wait at the coordinator for one agent.
pub const SERVER_CONTROL_QUEUE_BYTES: usize = 64 << 20;

/// Models that wait at the coordinator for one agent.
pub const SERVER_MODEL_QUEUE: usize = 4;

/// Events that wait for the coordinator's driver. When it is full, agents are slowed down.
pub const SERVER_EVENT_QUEUE: usize = 64;

/// Connections of all admitted agents together: the largest roster, and as many that are being
/// replaced.
pub const CONNECTIONS_MAX: usize = 2 * chorale_wire::limits::AGENTS_MAX;

/// Connections from one network (an IPv4 address, or 64 bits of an IPv6 address); several stores may
/// share one behind a router.
pub const CONNECTIONS_PER_ADDRESS_MAX: usize = 256;

/// Connections of peers that have not shown yet who they are, four networks' worth: others are
/// refused and try again. Those who are admitted do not count.
pub const HANDSHAKES_MAX: usize = 1024;

/// Unfinished handshakes above which a peer must first prove its address (QUIC Retry).
pub const UNPROVEN_HANDSHAKES_MAX: usize = 64;

/// Memory for all vectors that are being received, in bytes.
pub const UPLOAD_MEMORY_BYTES_MAX: usize = 2 << 30;

/// Time for which an interrupted upload is kept for its agent to resume.
pub const PARTIAL_UPLOAD_KEEP: Duration = Duration::from_secs(600);

/// Time from the first packet to an admitted agent.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Silence after which a connection counts as lost. Below, keep-alives hold it.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(15);

/// Interval of keep-alives.
pub const KEEP_ALIVE: Duration = Duration::from_secs(4);

/// Time in which one frame or chunk must move; longer, and the peer counts as stalled.
pub const STALL_TIMEOUT: Duration = Duration::from_secs(120);

/// Wait before an upload is offered again on a connection that is alive.
pub const UPLOAD_RETRY: Duration = Duration::from_millis(500);

/// Time for closing in good order.
pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// First back-off of a reconnecting agent; each failure doubles it up to [`BACKOFF_CAP`].
pub const BACKOFF_FIRST: Duration = Duration::from_millis(100);

/// Longest back-off of a reconnecting agent.
pub const BACKOFF_CAP: Duration = Duration::from_secs(15);

/// A connection that lived this long resets the back-off.
pub const BACKOFF_RESET_AFTER: Duration = Duration::from_secs(5);

/// Enrolment connections from one network in one minute.
pub const ENROLMENTS_PER_MINUTE: u32 = 30;

/// Enrolment connections served at once.
pub const ENROLMENTS_AT_ONCE: usize = 64;

/// Enrolment connections of one network served at once.
pub const ENROLMENTS_PER_NETWORK: usize = ENROLMENTS_AT_ONCE / 4;

/// Networks remembered for the enrolment rate.
pub const ENROLMENT_ADDRESSES_MAX: usize = 4096;
