//! When fix passes end, and what they came to (R4-M5-004, R4-M5-005, scoring.md §6).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::state::{FixPass, Priority};

/// Further passes while convergence is low (plan, risk "Extend fix passes").
const EXTENDED_PASSES: u32 = 7;

/// A pass below this many seconds is too short for its length to mean something; the plan's take
/// up to two hours.
const LONG_PASS: f64 = 60.0;

/// Findings that are still there, by priority.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Open {
    /// P0.
    pub p0: u32,
    /// P1.
    pub p1: u32,
    /// P2.
    pub p2: u32,
    /// P3, which no formula counts.
    pub p3: u32,
}

impl Open {
    /// Counts priorities.
    pub fn of(priorities: impl IntoIterator<Item = Priority>) -> Self {
        priorities.into_iter().fold(Self::default(), |mut open, priority| {
            *open.count_mut(priority) += 1;
            open
        })
    }

    fn count_mut(&mut self, priority: Priority) -> &mut u32 {
        match priority {
            Priority::P0 => &mut self.p0,
            Priority::P1 => &mut self.p1,
            Priority::P2 => &mut self.p2,
            Priority::P3 => &mut self.p3,
        }
    }

    /// All of them, P3 as well.
    pub fn total(self) -> u32 {
        self.p0 + self.p1 + self.p2 + self.p3
    }

    fn weight(self) -> f64 {
        f64::from(self.p0) * 0.4 + f64::from(self.p1) * 0.3 + f64::from(self.p2) * 0.1
    }
}

/// How much of the first catalogue is gone, 0 to 1: `first` is frozen, `left` counts new defects.
/// An empty first catalogue gives 1; the share says nothing of a blocker that is left (D-19).
pub fn convergence(first: Open, left: Open) -> f64 {
    if first.weight() == 0.0 {
        return 1.0;
    }
    (1.0 - left.weight() / first.weight()).clamp(0.0, 1.0)
}

impl FixPass {
    /// Resolved without what it broke, by targeted; none when nothing was targeted.
    pub fn net_effectiveness(&self) -> Option<f64> {
        ratio(self.resolved.saturating_sub(self.regressions), self.targeted)
    }

    /// What it broke by what it changed; none when nothing was changed.
    pub fn regression_rate(&self) -> Option<f64> {
        ratio(self.regressions, self.applied)
    }

    /// What it did to the score; none when that was not measured.
    pub fn score_delta(&self) -> Option<f64> {
        Some(self.score_after? - self.score_before?)
    }
}

/// `part` of `whole`; nothing of nothing has no value.
pub fn ratio(part: u32, whole: u32) -> Option<f64> {
    (whole > 0).then(|| f64::from(part) / f64::from(whole))
}

/// What the settings allow (R4-M1-001).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Upper limit of passes.
    pub passes: u32,
    /// Net effectiveness, 0 to 1, below which two passes in a row end the loop.
    pub effectiveness_floor: f64,
    /// Regression rate, 0 to 1, above which two passes in a row end the loop.
    pub regression_ceiling: f64,
    /// What all of it may cost, in US dollars.
    pub budget: Option<f64>,
}

/// Where the loop stands after a pass, or before the first.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Standing<'a> {
    /// The passes so far.
    pub passes: &'a [FixPass],
    /// What is still there.
    pub open: Open,
    /// Whether each open P1 has a workaround.
    pub workarounds: bool,
    /// How much of the first catalogue is gone.
    pub convergence: f64,
    /// The aggregate score, 0 to 100; none when not measured.
    pub score: Option<f64>,
    /// What was spent so far, in US dollars.
    pub spent: f64,
}

/// Why the loop ended, or waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Stop {
    /// There was nothing to fix.
    NothingToFix,
    /// No P0 and no P1 is left.
    NothingUrgent,
    /// As many passes as allowed.
    PassLimit,
    /// The budget is used up.
    Budget,
    /// Two passes in a row had too little effect.
    Effectiveness,
    /// Two passes in a row broke too much.
    RegressionRate,
    /// Good enough, by all four rules.
    SoftConvergence,
    /// The last pass took twice as long as the one before.
    TookTooLong,
    /// What is left nobody is there to repair.
    NoMeans,
    /// The instructions are written, and wait for somebody to follow them.
    AwaitingFix,
}

impl Stop {
    /// The reason in words.
    pub fn words(self) -> &'static str {
        match self {
            Self::NothingToFix => "nothing to fix",
            Self::NothingUrgent => "hard stop: no P0 and no P1 is left",
            Self::PassLimit => "hard stop: the limit of passes is reached",
            Self::Budget => "hard stop: the budget is used up",
            Self::Effectiveness => "hard stop: the net effectiveness was too low in two passes in a row",
            Self::RegressionRate => "hard stop: the regression rate was too high in two passes in a row",
            Self::SoftConvergence => {
                "soft stop: no P0, at most two P1 with workarounds, few new defects, score at least 70"
            }
            Self::TookTooLong => "the last pass took twice as long as the one before",
            Self::NoMeans => "nobody is there to repair what is left",
            Self::AwaitingFix => "awaiting fix: follow the FIX_INSTRUCTIONS.md, then `cargo run4 --resume`",
        }
    }
}

impl Limits {
    /// How many passes are allowed now: more than the settings say while convergence is low.
    pub fn passes_allowed(&self, standing: &Standing<'_>) -> u32 {
        let slow = standing.passes.len() >= 3 && standing.convergence < 0.70;
        if slow { self.passes.max(EXTENDED_PASSES) } else { self.passes }
    }

    /// Whether the loop ends here, and why; the first rule that holds.
    pub fn stop(&self, standing: &Standing<'_>) -> Option<Stop> {
        let Standing { passes, open, .. } = *standing;
        let last_two = |bad: &dyn Fn(&FixPass) -> bool| passes.len() >= 2 && passes[passes.len() - 2..].iter().all(bad);
        let done = u32::try_from(passes.len()).unwrap_or(u32::MAX);
        let rules = [
            (done == 0 && open.p0 + open.p1 + open.p2 == 0, Stop::NothingToFix),
            (open.p0 == 0 && open.p1 == 0, Stop::NothingUrgent),
            (self.budget.is_some_and(|budget| standing.spent >= budget), Stop::Budget),
            (
                last_two(&|pass| pass.regression_rate().is_some_and(|rate| rate > self.regression_ceiling)),
                Stop::RegressionRate,
            ),
            (
                last_two(&|pass| pass.net_effectiveness().is_some_and(|net| net < self.effectiveness_floor)),
                Stop::Effectiveness,
            ),
            (is_soft(standing), Stop::SoftConvergence),
            (done >= self.passes_allowed(standing), Stop::PassLimit),
            (took_too_long(passes), Stop::TookTooLong),
        ];
        rules.into_iter().find(|(holds, _)| *holds).map(|(_, stop)| stop)
    }
}

/// Whether all four rules of the soft stop hold.
fn is_soft(standing: &Standing<'_>) -> bool {
    let passes = standing.passes;
    let few_new = passes.len() >= 2 && passes[passes.len() - 2..].iter().all(|pass| pass.new_defects < 3);
    let Open { p0, p1, .. } = standing.open;
    p0 == 0 && p1 <= 2 && standing.workarounds && few_new && standing.score.is_some_and(|score| score >= 70.0)
}

fn took_too_long(passes: &[FixPass]) -> bool {
    let [.., before, last] = passes else { return false };
    let [before, last] = [before, last].map(|pass| pass.seconds.unwrap_or_default());
    last > LONG_PASS && last >= 2.0 * before
}

/// What the fix passes came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum FixVerdict {
    /// Convergence of 0.85, no P0.
    Converged,
    /// Convergence of 0.70, no P0, at most three P1.
    Acceptable,
    /// The soft stop held below that.
    SoftStop,
    /// None of these.
    NotConverged,
}

impl FixVerdict {
    /// The verdict; the first that holds, and none of success beside a P0. `stop` is why it ended.
    pub fn of(convergence: f64, open: Open, stop: Option<Stop>) -> Self {
        match (open.p0, convergence) {
            (0, share) if share >= 0.85 => Self::Converged,
            (0, share) if share >= 0.70 && open.p1 <= 3 => Self::Acceptable,
            (0, _) if stop == Some(Stop::SoftConvergence) => Self::SoftStop,
            _ => Self::NotConverged,
        }
    }
}

impl std::fmt::Display for FixVerdict {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.pad(match self {
            Self::Converged => "CONVERGED",
            Self::Acceptable => "ACCEPTABLE",
            Self::SoftStop => "SOFT_STOP",
            Self::NotConverged => "NOT_CONVERGED",
        })
    }
}

#[cfg(test)]
#[path = "convergence_tests.rs"]
mod tests;
