//! Named bounds. Every queue, message and vector that comes from outside is checked against one
//! of these before memory is allocated for it.

/// Longest control message in bytes. Only a roster comes near it: with 64 rounds' keys 3,495
/// agents fit, of 10,000 agents 15 rounds' keys ([`crate::message::Roster::rounds_max`]).
pub const CONTROL_BYTES_MAX: usize = 16 << 20;

/// Longest control message of an agent in bytes: the shares of 64 rounds for each of
/// [`NEIGHBOURS_MAX`] neighbours are 2.4 MB.
pub const AGENT_CONTROL_BYTES_MAX: usize = 4 << 20;

/// Longest masked vector in bytes: 2^24 coordinates of 64 bits.
pub const VECTOR_BYTES_MAX: usize = 128 << 20;

/// Longest model in bytes that a coordinator may broadcast.
pub const MODEL_BYTES_MAX: usize = 256 << 20;

/// Longest enrolment message in bytes: a request or a certificate bundle.
pub const ENROLMENT_BYTES_MAX: usize = 64 << 10;

/// Most coordinates in one round's vector.
pub const COORDINATES_MAX: usize = 1 << 24;

/// Most agents in one roster. The complete graph serves up to [`COMPLETE_GRAPH_AGENTS_MAX`], the
/// sparse graph the others.
pub const AGENTS_MAX: usize = 10_000;

/// Most agents for which every pair shares a mask; above, the sparse graph is used.
pub const COMPLETE_GRAPH_AGENTS_MAX: usize = 128;

/// Most neighbours of one agent. With a third of 10,000 agents corrupt and a tenth dropping out,
/// 306 are needed; threat models that need more than this bound have no sparse graph.
pub const NEIGHBOURS_MAX: usize = 512;

/// Most rounds whose keys one epoch prepares.
pub const ROUNDS_PER_EPOCH_MAX: usize = 64;

/// Most rounds that one roster vote states about one agent; what does not fit is stated in the next
/// epoch's votes.
pub const STATED_ROUNDS_MAX: usize = 64;

/// Longest text in bytes that an agent or the coordinator gives as a reason.
pub const REASON_BYTES_MAX: usize = 512;

/// Longest round spec in bytes, its signature included.
pub const SPEC_BYTES_MAX: usize = 20 << 10;
