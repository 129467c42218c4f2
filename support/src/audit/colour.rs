//! The traffic light of a score or a row (plan §6.4, spec scoring.md §3).

use std::fmt;

use schemars::JsonSchema;
use serde::Serialize;

/// A colour. What it means for a row stands with each table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Colour {
    /// The expectation is met.
    Green,
    /// Met in part.
    Yellow,
    /// Not met, or not looked at.
    Red,
}

impl Colour {
    /// The colour of a score of 0 to 100.
    pub fn of_score(score: f64) -> Self {
        if score >= 80.0 {
            Self::Green
        } else if score >= 50.0 {
            Self::Yellow
        } else {
            Self::Red
        }
    }
}

impl fmt::Display for Colour {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Green => "GREEN",
            Self::Yellow => "YELLOW",
            Self::Red => "RED",
        })
    }
}
