//! Named bounds. Every queue, message and vector that comes from outside is checked against one
//! of these before memory is allocated for it.

/// Longest control message in bytes: a roster of 1,024 agents with 64 round keys each fits.
pub const CONTROL_BYTES_MAX: usize = 16 << 20;

/// Longest masked vector in bytes: 2^24 coordinates of 64 bits.
pub const VECTOR_BYTES_MAX: usize = 128 << 20;

/// Longest model in bytes that a coordinator may broadcast.
pub const MODEL_BYTES_MAX: usize = 256 << 20;

/// Longest enrolment message in bytes: a request or a certificate bundle.
pub const ENROLMENT_BYTES_MAX: usize = 64 << 10;

/// Most coordinates in one round's vector.
pub const COORDINATES_MAX: usize = 1 << 24;

/// Most agents in one roster. The complete graph serves up to [`COMPLETE_GRAPH_AGENTS_MAX`].
pub const AGENTS_MAX: usize = 1024;

/// Most agents for which every pair shares a mask; above, the sparse graph is needed.
pub const COMPLETE_GRAPH_AGENTS_MAX: usize = 128;

/// Most rounds whose keys one epoch prepares.
pub const ROUNDS_PER_EPOCH_MAX: usize = 64;

/// Longest text in bytes that an agent or the coordinator gives as a reason.
pub const REASON_BYTES_MAX: usize = 512;
