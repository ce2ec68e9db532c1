//! Yes-or-no forecasts against what happened.

/// Counts of a two-by-two table. Every ratio is `None` where its denominator is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Confusion {
    /// Forecast and happened.
    pub true_positive: u64,
    /// Forecast, did not happen.
    pub false_positive: u64,
    /// Not forecast, happened.
    pub false_negative: u64,
    /// Not forecast, did not happen.
    pub true_negative: u64,
}

impl Confusion {
    /// Counts one forecast.
    pub fn add(&mut self, forecast: bool, happened: bool) {
        *match (forecast, happened) {
            (true, true) => &mut self.true_positive,
            (true, false) => &mut self.false_positive,
            (false, true) => &mut self.false_negative,
            (false, false) => &mut self.true_negative,
        } += 1;
    }

    /// Number of forecasts.
    #[must_use]
    pub fn all(&self) -> u64 {
        self.true_positive + self.false_positive + self.false_negative + self.true_negative
    }

    /// Share of right forecasts, 0 to 1. Where most things do not happen, "never" scores high.
    #[must_use]
    pub fn accuracy(&self) -> Option<f64> {
        ratio(self.true_positive + self.true_negative, self.all())
    }

    /// Share of what was forecast that happened, 0 to 1.
    #[must_use]
    pub fn precision(&self) -> Option<f64> {
        ratio(self.true_positive, self.true_positive + self.false_positive)
    }

    /// Share of what happened that was forecast, 0 to 1.
    #[must_use]
    pub fn recall(&self) -> Option<f64> {
        ratio(self.true_positive, self.true_positive + self.false_negative)
    }

    /// Harmonic mean of precision and recall, 0 to 1 (van Rijsbergen 1979).
    #[must_use]
    pub fn f1(&self) -> Option<f64> {
        let wrong = self.false_positive + self.false_negative;
        ratio(2 * self.true_positive, 2 * self.true_positive + wrong)
    }
}

fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        let mut table = Confusion::default();
        for (forecast, happened, times) in
            [(true, true, 6), (true, false, 2), (false, true, 4), (false, false, 8)]
        {
            (0..times).for_each(|_| table.add(forecast, happened));
        }
        assert_eq!(table.all(), 20);
        assert_eq!(table.accuracy(), Some(0.7));
        assert_eq!((table.precision(), table.recall()), (Some(0.75), Some(0.6)));
        assert_eq!(table.f1(), Some(12.0 / 18.0));
        let none = Confusion::default();
        assert_eq!(
            (none.accuracy(), none.precision(), none.recall(), none.f1()),
            (None, None, None, None)
        );
    }
}
