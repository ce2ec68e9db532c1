//! What is computed: one module per task, the models they train and the scorers that read them.
//!
//! Every task is a sum of per-person vectors (`contribute`), a bound on each of them (`shape`)
//! and a rule that turns the noisy total into a better model (`update`). Nothing here reads a
//! file, a clock or the operating system's randomness, and nothing here protects anybody: the
//! gate clips, noises and masks what a task hands to its [`PersonSink`](chorale_plan::PersonSink).
//!
//! Reading order: [`people`], [`task`], a task such as [`popularity`], [`model`], [`scorers`].

pub mod catalogue;
pub mod cooccurrence;
pub mod gram;
pub mod hierarchy;
mod linalg;
pub mod matrix_factorisation;
pub mod metrics;
pub mod model;
pub mod people;
pub mod popularity;
pub mod scorers;
pub mod task;
pub mod total;

pub use catalogue::{Catalogue, CatalogueError, Item};
pub use cooccurrence::Cooccurrence;
pub use gram::{Gram, GramFactors};
pub use hierarchy::Hierarchy;
pub use matrix_factorisation::MatrixFactorisation;
pub use model::{Model, ModelError, Tensor};
pub use people::{MemoryPeople, People, PeopleError, Person, Weighting};
pub use popularity::Popularity;
pub use scorers::{Scorer, top_k};
pub use task::{ContributeError, Next, Progress, Task, TaskError, UpdateError, from_plan};
pub use total::{NoisyTotal, TotalError};
