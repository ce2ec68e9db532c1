//! What is run: the data, the threat model and the recipe of each federation.
//!
//! Hyper-parameters were chosen on the validation window, the 30 days before the test window.

use std::path::{Path, PathBuf};

/// Start of the test window: 2 December 2017, local midnight of the shops (Unix seconds).
pub const TEST_START_S: i64 = 1_512_190_800;

/// Start of the validation window: 2 November 2017, local midnight (Unix seconds).
pub const VALIDATION_START_S: i64 = 1_509_598_800;

/// First day of the test window for people.
pub const TEST_FROM: &str = "2017-12-02";

/// End of the data (Unix seconds, exclusive).
pub const DATA_END_S: i64 = TEST_START_S + 31 * 86_400;

/// δ of every federation.
pub const DELTA: f64 = 1e-5;

/// One run's data and rules.
#[derive(Clone, Debug)]
pub struct Setting {
    /// Folder with `stores/`, `products.parquet`, `catalogue.csv` and `stores.csv`.
    pub data: PathBuf,
    /// Smallest admissible number of survivors, T_min.
    pub survivors_min: u32,
    /// Most persons at one store, a plan constant.
    pub persons_max: u32,
    /// Number of households as the plan declares it; never a measured count.
    pub persons_declared: u32,
    /// Gradient rounds.
    pub rounds: u32,
    /// How many local coordinates a federation of this size trains per ε.
    pub recipes: Vec<Recipe>,
    /// EASE regularisation of the model without noise.
    pub ease_lambda: f64,
    /// EASE regularisation of a store alone.
    pub local_ease_lambda: f64,
    /// Ridge of a person's taste at scoring.
    pub ridge: f64,
    /// Scale of category and department features at scoring.
    pub content: (f64, f64),
    /// Weight w of the model against the person's own history, all items.
    pub history_weight: f64,
    /// Tail exponent of the gradient.
    pub tail_exponent: f64,
    /// Department share in the first factors.
    pub department_share: f64,
    /// Popularity floor in noise standard deviations.
    pub floor_noise: f64,
}

/// How one federation trains.
#[derive(Clone, Copy, Debug)]
pub struct Recipe {
    /// ε; `None` is without noise.
    pub epsilon: Option<f64>,
    /// Rank k of the factors.
    pub rank: u32,
    /// Learning rate η.
    pub eta: f64,
    /// Weight β of the store's own popularity in the prior.
    pub local_prior: f64,
}

impl Setting {
    /// The twelve stores that are committed, over a coarser catalogue.
    #[must_use]
    pub fn demo(checkout: &Path) -> Self {
        let recipe = |epsilon, eta, local_prior| Recipe { epsilon, rank: 8, eta, local_prior };
        Self {
            data: checkout.join("tests/data/complete-journey"),
            survivors_min: 10,
            persons_max: 128,
            persons_declared: 486,
            rounds: 10,
            recipes: vec![
                recipe(Some(8.0), 300.0, 0.25),
                recipe(Some(4.0), 150.0, 0.5),
                recipe(Some(2.0), 150.0, 0.5),
                recipe(Some(1.0), 100.0, 0.5),
                recipe(None, 300.0, 0.1),
            ],
            ease_lambda: 30.0,
            local_ease_lambda: 10.0,
            ridge: 60.0,
            content: (2.0, 2.0),
            history_weight: 0.5,
            tail_exponent: 0.75,
            department_share: 0.5,
            floor_noise: 0.5,
        }
    }

    /// All 99 stores that are home to at least ten households, over 1,847 product types.
    #[must_use]
    pub fn full(checkout: &Path) -> Self {
        let recipe = |epsilon, rank, eta| Recipe { epsilon, rank, eta, local_prior: 0.0 };
        Self {
            data: checkout.join("tests/data/complete-journey-full"),
            survivors_min: 90,
            persons_max: 128,
            persons_declared: 2344,
            rounds: 10,
            recipes: vec![
                recipe(Some(8.0), 16, 300.0),
                recipe(Some(4.0), 16, 200.0),
                recipe(Some(2.0), 8, 200.0),
                recipe(Some(1.0), 8, 150.0),
                recipe(None, 16, 300.0),
            ],
            ease_lambda: 10.0,
            local_ease_lambda: 10.0,
            ridge: 30.0,
            content: (2.0, 0.2),
            history_weight: 0.3,
            tail_exponent: 0.5,
            department_share: 0.3,
            floor_noise: 1.0,
        }
    }
}

/// The SQL that maps the stores' transactions to canonical events, as it stands in each agent's
/// configuration.
pub const EVENT_SQL: &str = "\
SELECT t.transaction_timestamp                     AS event_time,
       CAST(t.household_id AS VARCHAR)             AS person,
       CAST(t.home_store AS VARCHAR)               AS home_store,
       'purchase'                                  AS kind,
       p.product_type                              AS item,
       CAST(t.quantity AS DOUBLE)                  AS quantity,
       CAST(t.sales_value AS DOUBLE)               AS amount,
       CAST(t.basket_id AS VARCHAR)                AS basket
FROM transactions t
JOIN products p ON p.product_id = t.product_id";
