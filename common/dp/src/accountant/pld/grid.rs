//! The search: grid, window and tilt from a sketch, then the certified bound at a point.

use realfft::RealFftPlanner;

use super::{
    compose::{Composed, log_moment},
    losses::Losses,
    pair::{Pair, Part},
    sketch::{Direction, Sketch},
};

/// Most points of a grid or a window; with more, the grid is made coarser and the figure looser.
const POINTS_MAX: f64 = (1 << 21) as f64;
/// Fewest points of a window.
const POINTS_MIN: f64 = 256.0;
/// Share of δ that may go to infinity with the far tails.
const TAIL_SHARE: f64 = 1e-7;
/// Attempts at a window before the bound without one is taken.
const ATTEMPTS: u32 = 3;

/// A composition to be asked.
pub(super) struct Search {
    parts: Vec<Part>,
    planner: RealFftPlanner<f64>,
    /// The removal grids made last, with the spacing and tail that they were made for.
    made: Option<(f64, f64, Vec<Losses>)>,
}

/// What a sketch says about where to look.
#[derive(Clone, Copy, Debug)]
struct Plan {
    theta: f64,
    centre: f64,
    deviation: f64,
    h: f64,
}

impl Search {
    pub(super) fn new(parts: Vec<Part>) -> Self {
        Self { parts, planner: RealFftPlanner::new(), made: None }
    }

    /// The ε at δ of both directions, certified; infinite if none was found.
    pub(super) fn epsilon(&mut self, delta: f64) -> f64 {
        let (removal, h) = self.one_epsilon(Direction::Removal, delta);
        // Symmetric parts need no second look, and mostly the second direction is the better one.
        let symmetric = !self.parts.iter().any(Part::is_sampled);
        if symmetric || self.one_delta(Direction::Addition, removal, delta, Some(h)) <= delta {
            return removal;
        }
        removal.max(self.one_epsilon(Direction::Addition, delta).0)
    }

    /// The δ at ε of both directions, certified.
    pub(super) fn delta(&mut self, epsilon: f64) -> f64 {
        let least = super::DELTA_MIN;
        let removal = self.one_delta(Direction::Removal, epsilon, least, None);
        if !self.parts.iter().any(Part::is_sampled) {
            return removal;
        }
        removal.max(self.one_delta(Direction::Addition, epsilon, least, None))
    }

    /// One direction's ε, and the spacing that it was found with.
    fn one_epsilon(&mut self, direction: Direction, delta: f64) -> (f64, f64) {
        let tail = self.tail(delta);
        let sketch = Sketch::new(&self.parts, direction, tail);
        let mut plan = self.plan(&sketch, sketch.tilt_for_delta(delta), None, tail);
        let mut reach = 1.0;
        for _ in 0..ATTEMPTS {
            let composed = self.compose(direction, &plan, tail, reach);
            let holds = |epsilon: f64| composed.delta(epsilon) <= delta;
            let (bottom, top) = (composed.bottom().max(0.0), composed.top());
            if top > 0.0 && holds(top.next_down()) {
                if bottom == 0.0 || !holds(bottom) {
                    return (smallest(bottom, top.next_down(), holds), plan.h);
                }
                // ε is below this window.
                plan.centre = bottom - plan.deviation;
            } else {
                plan.centre = top.max(plan.centre + plan.deviation);
            }
            reach *= 2.0;
        }
        (self.without_window(direction, &plan, tail, delta), plan.h)
    }

    /// An ε that needs no window: δ(ε) <= mass at infinity + E e^{θL}·e^{-θε}·max_x e^{-θx}(1 - e^{-x}),
    /// and that maximum is θ^θ/(1+θ)^{1+θ}.
    fn without_window(&mut self, direction: Direction, plan: &Plan, tail: f64, delta: f64) -> f64 {
        let Plan { theta, h, .. } = *plan;
        let (mut moment, mut infinity, mut shift) = (0.0, 0.0, 0.0);
        for (losses, count) in self.directed(direction, h, tail) {
            let times = count as f64;
            moment += times * log_moment(&losses, h, theta);
            infinity += times * losses.infinity;
            shift += times * losses.shift;
        }
        let left = delta - infinity * (1.0 + 1e-9);
        if !(left > 0.0 && moment.is_finite()) {
            return f64::INFINITY;
        }
        let largest = theta * libm::log(theta) - (1.0 + theta) * libm::log1p(theta);
        let log_left = libm::log(left);
        let terms = moment.abs() + (1.0 + theta) * (2.0 + libm::log(theta).abs()) + log_left.abs();
        let bound = (moment + largest - log_left + 1e-12 * terms) / theta + shift;
        (bound * (1.0 + 1e-12)).max(0.0)
    }

    /// The grids of one direction, with their counts.
    fn directed(&mut self, direction: Direction, h: f64, tail: f64) -> Vec<(Losses, u64)> {
        self.make(h, tail);
        let removal = self.made.iter().flat_map(|(_, _, made)| made);
        let parts = self.parts.iter().zip(removal);
        parts
            .map(|(part, losses)| match direction {
                Direction::Removal => (losses.clone(), part.count),
                Direction::Addition => (losses.of_addition(part, h), part.count),
            })
            .collect()
    }

    /// One direction's δ at ε; `delta` says how small it is expected to be.
    fn one_delta(
        &mut self,
        direction: Direction,
        epsilon: f64,
        delta: f64,
        spacing: Option<f64>,
    ) -> f64 {
        if !epsilon.is_finite() {
            return 1.0;
        }
        let tail = self.tail(delta);
        let sketch = Sketch::new(&self.parts, direction, tail);
        let mut plan = self.plan(&sketch, sketch.tilt_for_loss(epsilon), Some(epsilon), tail);
        if let Some(h) = spacing {
            plan.h = h;
        }
        let once = self.compose(direction, &plan, tail, 1.0).delta(epsilon);
        if once <= delta {
            return once;
        }
        once.min(self.compose(direction, &plan, tail, 2.0).delta(epsilon))
    }

    fn tail(&self, delta: f64) -> f64 {
        let releases: f64 = self.parts.iter().map(|part| part.count as f64).sum();
        delta * TAIL_SHARE / releases
    }

    fn plan(&self, sketch: &Sketch, theta: f64, at: Option<f64>, tail: f64) -> Plan {
        let tilted = sketch.cumulants(theta);
        let centre = at.unwrap_or(tilted.mean.max(0.0));
        let deviation = tilted.variance.sqrt();
        // A δ asked for at a point needs no finer grid than the law's own width.
        let scale = if at.is_some() { centre.max(deviation) } else { centre };
        let h = self.spacing(theta, scale, tail);
        Plan { theta, centre, deviation, h }
    }

    /// Splitting a loss between grid points h apart adds h²/6 to its variance and half of that to
    /// its mean, so n releases move ε by n(1 + θ)h²/12. h is chosen for 6e-6 of that, less
    /// below ε = 0.1, more above 30; then fitted to losses that come with positive
    /// probability.
    fn spacing(&self, theta: f64, scale: f64, tail: f64) -> f64 {
        let aim = 6e-6 * (10.0 * scale.max(1e-3)).min(1.0) * (scale / 30.0).max(1.0);
        let tilt = 1.0 + theta.min(2000.0);
        let unit = self
            .parts
            .iter()
            .filter_map(|part| part.unit().map(|unit| (part.count, unit)))
            .max_by_key(|(count, _)| *count)
            .map(|(_, unit)| unit);
        // Losses that lie on the grid anyway are not split.
        let split: f64 = self
            .parts
            .iter()
            .filter(|part| !(matches!(part.pair, Pair::Lattice(_)) && part.unit() == unit))
            .map(|part| part.count as f64)
            .sum();
        if split == 0.0
            && let Some(unit) = unit
        {
            // Unless there are far too many of them.
            let widest = self.parts.iter().map(|part| range(part, tail)).fold(0.0, f64::max);
            if unit > widest / 65_536.0 {
                return unit;
            }
        }
        let h = (12.0 * aim / (split.max(1.0) * tilt)).sqrt().min(0.5 / tilt);
        // Floats cost about 1e-14/h of δ for each release: below this h that costs more of ε than
        // the grid does.
        let h = h.max((6e-14 / (1.0 + theta).powi(2)).cbrt());
        let widest = self.parts.iter().map(|part| range(part, tail)).fold(0.0, f64::max);
        let h = h.max(widest / POINTS_MAX);
        match unit {
            Some(unit) if unit > h => unit / (unit / h).ceil(),
            _ => h,
        }
    }

    fn compose(&mut self, direction: Direction, plan: &Plan, tail: f64, reach: f64) -> Composed {
        let Plan { theta, centre, deviation, .. } = *plan;
        // Below: what the tilted law has there must not wrap to where weights are large. Above:
        // until weights or the law have died out.
        let above = (20.0 / theta).min(8.0 * deviation + 20.0 / (theta + 1.0 / (deviation + 1e-9)));
        let width = reach * (8.0 * deviation + above);
        let h = plan.h.max(width / POINTS_MAX);
        let points = (width / h).clamp(POINTS_MIN, POINTS_MAX).ceil() as usize;
        let length = points.next_power_of_two();
        let parts = self.directed(direction, h, tail);
        let first = ((centre - reach * 3.0 * deviation) / h).floor() as i64 - 8;
        let mut composed = Composed::new(&parts, h, theta, first, length, &mut self.planner);
        if theta * (length as f64 * h) < 60.0 + 2.0 * theta * deviation * 3.0 {
            for factor in [3.0, 6.0, 12.0] {
                let t = factor / deviation.max(h);
                let log_moment = parts
                    .iter()
                    .map(|(losses, count)| *count as f64 * log_moment(losses, h, theta + t))
                    .sum();
                composed.bound_above(t, log_moment);
            }
        }
        composed
    }

    fn make(&mut self, h: f64, tail: f64) {
        if self.made.as_ref().is_some_and(|(spacing, cut, _)| (*spacing, *cut) == (h, tail)) {
            return;
        }
        let made = self.parts.iter().map(|part| Losses::of_removal(part, h, tail)).collect();
        self.made = Some((h, tail, made));
    }
}

/// How far one part's losses spread, roughly.
fn range(part: &Part, tail: f64) -> f64 {
    match &part.pair {
        Pair::Gaussian { mu } => {
            let t = (-2.0 * tail.ln()).max(1.0).sqrt();
            part.loss(mu * t + mu * mu / 2.0) - part.loss(-mu * mu / 2.0 - mu * t)
        }
        Pair::Laplace { reach } => part.loss(*reach) - part.loss(-reach),
        Pair::Lattice(lattice) => {
            let ends = (lattice.atoms.first(), lattice.atoms.last());
            if let (Some(first), Some(last)) = ends { last.loss - first.loss } else { 0.0 }
        }
    }
}

/// The smallest point found in [low, high] at which `holds`; `high` has been tested.
fn smallest(low: f64, high: f64, holds: impl Fn(f64) -> bool) -> f64 {
    if holds(low) {
        return low;
    }
    let (mut low, mut high) = (low, high);
    for _ in 0..60 {
        let middle = low + (high - low) / 2.0;
        if middle <= low || middle >= high {
            break;
        }
        if holds(middle) { high = middle } else { low = middle }
    }
    high
}
