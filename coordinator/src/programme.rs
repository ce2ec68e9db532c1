//! The programme: plans in order, calibrated once, and where in it the federation stands.

use chorale_dp::{Cap, Rho};
use chorale_plan::Plan;
use chorale_task::{Catalogue, Model, Task};
use chorale_wire::Digest;

use crate::{calibrate, caps, config::Config, error::RunError, state::Position};

/// All plans of a federation.
pub(crate) struct Programme {
    config: Config,
    catalogue: Catalogue,
    digest: Digest,
    cap: Option<Rho>,
    caps: Vec<Cap>,
}

impl Programme {
    pub(crate) fn new(config: Config, catalogue: Catalogue) -> Self {
        let cap = calibrate::budget_cap(&config);
        let digest = catalogue.digest();
        // They were checked when the configuration was read.
        let caps = caps::caps(&config.privacy, cap.as_ref()).unwrap_or_default();
        Self { config, catalogue, digest, cap, caps }
    }

    /// The lifetime cap in ρ; `None` without protection.
    pub(crate) fn cap(&self) -> Option<&Rho> {
        self.cap.as_ref()
    }

    /// The caps beside it.
    pub(crate) fn caps(&self) -> &[Cap] {
        &self.caps
    }

    pub(crate) fn catalogue(&self) -> Digest {
        self.digest
    }

    pub(crate) fn items(&self) -> usize {
        self.catalogue.len()
    }

    /// The model before the first round.
    pub(crate) fn initial_model(&self) -> Result<Model, RunError> {
        Ok(Model::for_catalogue(&self.catalogue)?)
    }

    /// Every plan as it will run, for people to look at before anything runs; checks what they cost
    /// of δ together.
    pub(crate) fn plans(&self) -> Result<Vec<Plan>, RunError> {
        let model = self.initial_model()?;
        let mut plans = Vec::with_capacity(self.config.plans.len());
        let mut draws = 0u64;
        for plan in 0..self.config.plans.len() as u32 {
            let (plan, task) = self.current(&Position { plan, ..Position::default() }, &model)?;
            let coordinates = u64::from(task.shape(&model).coordinates);
            let layers = u64::from(self.config.cohort.layers_max(self.config.agents));
            let drawn = coordinates.saturating_mul(u64::from(plan.rounds)).saturating_mul(layers);
            draws = draws.saturating_add(drawn);
            plans.push(plan);
        }
        if let Some(cap) = &self.cap {
            calibrate::check_samplers(&self.config, draws, cap)?;
        }
        Ok(plans)
    }

    /// The plan at `position` and its task.
    pub(crate) fn current(
        &self,
        position: &Position,
        model: &Model,
    ) -> Result<(Plan, Box<dyn Task>), RunError> {
        let planned =
            self.config.plans.get(position.plan as usize).ok_or(RunError::ProgrammeOver)?;
        // The shape decides the noise, and the task decides the shape: two steps.
        let unit = chorale_plan::Shape { coordinates: 1, clip: chorale_dp::Rational::one() };
        let draft = calibrate::plan(&self.config, planned, &unit, self.digest, None)?;
        let shape = chorale_task::from_plan(&draft, self.items())?.shape(model);
        let plan = calibrate::plan(&self.config, planned, &shape, self.digest, self.cap.as_ref())?;
        let task = chorale_task::from_plan(&plan, self.items())?;
        Ok((plan, task))
    }

    pub(crate) fn is_over(&self, position: &Position) -> bool {
        position.plan as usize >= self.config.plans.len()
    }

    pub(crate) fn rounds_in_all(&self) -> u64 {
        self.config.plans.iter().map(|plan| u64::from(plan.rounds)).sum()
    }

    pub(crate) fn rounds_left(&self, position: &Position) -> u32 {
        let rest: u32 =
            self.config.plans.iter().skip(position.plan as usize).map(|plan| plan.rounds).sum();
        rest.saturating_sub(position.step)
    }
}
