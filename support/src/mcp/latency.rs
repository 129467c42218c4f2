//! Round-trip times (plan R4-M2-007, spec tools.md §9).

use std::{collections::BTreeMap, time::Duration};

use hdrhistogram::Histogram;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The longest time that is told apart, in microseconds: one hour.
const LONGEST: u64 = 3_600_000_000;

/// Times by name, kept to three significant digits in microseconds.
#[derive(Debug, Default)]
pub struct LatencyRecorder {
    histograms: BTreeMap<String, Histogram<u64>>,
}

/// The figures of one name, in milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LatencySummary {
    /// How many times were recorded.
    pub n: u64,
    /// Half of the times were at most this.
    pub median_ms: f64,
    /// 95 of 100 times were at most this.
    pub p95_ms: f64,
    /// 99 of 100 times were at most this.
    pub p99_ms: f64,
    /// The longest time.
    pub max_ms: f64,
}

impl LatencyRecorder {
    /// Adds one time under `name`.
    pub fn record(&mut self, name: &str, elapsed: Duration) {
        let histogram = self.histograms.entry(name.to_owned()).or_insert_with(|| {
            // The bounds and the digits are within what the constructor accepts, always.
            Histogram::new_with_bounds(1, LONGEST, 3).unwrap_or_else(|_| unreachable!("the bounds are in order"))
        });
        histogram.saturating_record(u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX));
    }

    /// The figures of every name.
    pub fn summary(&self) -> BTreeMap<String, LatencySummary> {
        #[expect(clippy::cast_precision_loss, reason = "microseconds of a call are far below 2^52")]
        let ms = |micros: u64| micros as f64 / 1000.0;
        let figures = |histogram: &Histogram<u64>| LatencySummary {
            n: histogram.len(),
            median_ms: ms(histogram.value_at_quantile(0.50)),
            p95_ms: ms(histogram.value_at_quantile(0.95)),
            p99_ms: ms(histogram.value_at_quantile(0.99)),
            max_ms: ms(histogram.max()),
        };
        self.histograms.iter().map(|(name, histogram)| (name.clone(), figures(histogram))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pretty_assertions::assert_eq;

    #[test]
    fn quantiles_are_by_nearest_rank() {
        let mut recorder = LatencyRecorder::default();
        for millis in 1..=100 {
            recorder.record("call", Duration::from_millis(millis));
        }
        let summary = &recorder.summary()["call"];
        assert_eq!(summary.n, 100);
        for (figure, promised) in
            [(summary.median_ms, 50.0), (summary.p95_ms, 95.0), (summary.p99_ms, 99.0), (summary.max_ms, 100.0)]
        {
            assert!((figure - promised).abs() / promised < 0.002, "{figure} for {promised}");
        }
    }
}
