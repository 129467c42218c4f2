//! The decision tree: from what a defect does to how urgent it is (R4-M5-002, scoring.md §5, D-12).

use serde::{Deserialize, Serialize};

use super::violation::Severity;
use crate::state::Priority;

/// What a defect does to those who use the system: the questions of the tree, first match.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// The system cannot start, or cannot be deployed.
    NoStart,
    /// A primary use case does not complete end to end.
    Primary,
    /// A secondary feature is broken, and another Build or the integration suffers.
    Shared,
    /// A secondary feature is broken, and nobody else suffers.
    Secondary,
    /// Cosmetic, performance or documentation.
    Cosmetic,
    /// Nobody said what it does; the severity of the scan decides (builder.md §6).
    Unclassified(Severity),
    /// It was not tried, so that nothing is said about the system.
    NotTried,
}

/// The answer of the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Decision {
    /// How urgent it is.
    pub priority: Priority,
    /// The branch that was taken.
    pub branch: &'static str,
}

/// What the scan codes do, where their severity does not tell (orchestrator.md §7, builder.md §7).
const CODES: [(&str, Effect); 19] = [
    // A service without a health route never becomes healthy, so that nothing is deployed.
    ("HEALTH-001", Effect::NoStart),
    ("CONTRACT-002", Effect::Primary),
    ("FLOW-001", Effect::Primary),
    ("SCHEMA-001", Effect::Shared),
    ("SCHEMA-002", Effect::Shared),
    ("CONTRACT-001", Effect::Shared),
    ("CONTRACT-003", Effect::Shared),
    ("CONTRACT-004", Effect::Shared),
    ("PACT-001", Effect::Shared),
    ("ADV-001", Effect::Secondary),
    ("ADV-002", Effect::Secondary),
    ("LOG-001", Effect::Secondary),
    ("TRACE-001", Effect::Secondary),
    ("SCHEMA-003", Effect::Cosmetic),
    ("ADV-004", Effect::Cosmetic),
    ("DEPLOY-002", Effect::Cosmetic),
    ("UI-002", Effect::Cosmetic),
    ("UI-003", Effect::Cosmetic),
    ("SPELLING", Effect::Cosmetic),
];

impl Effect {
    /// What a violation with `code` does.
    pub fn of_code(code: &str, severity: Severity) -> Self {
        CODES.iter().find(|(known, _)| *known == code).map_or(Self::Unclassified(severity), |(_, effect)| *effect)
    }

    /// How urgent a defect with this effect is, with or without a workaround.
    pub fn decide(self, workaround: bool) -> Decision {
        let (priority, branch) = match (self, workaround) {
            (Self::NoStart, _) => (Priority::P0, "1: the system cannot start or be deployed"),
            (Self::Primary, false) => (Priority::P0, "2: a primary use case does not complete, no workaround"),
            (Self::Primary, true) => (Priority::P1, "2: a primary use case does not complete, with a workaround"),
            (Self::Shared, _) => (Priority::P1, "3: a secondary feature is broken, and another Build suffers"),
            (Self::Secondary, _) => (Priority::P2, "3: a secondary feature is broken, and nobody else suffers"),
            (Self::Cosmetic, _) => (Priority::P3, "4: cosmetic, performance or documentation"),
            (Self::Unclassified(severity), _) => {
                let branch = match severity {
                    Severity::Critical => "unclassified: severity critical",
                    Severity::Error => "unclassified: severity error",
                    Severity::Warning => "unclassified: severity warning",
                    Severity::Info => "unclassified: severity info",
                };
                (severity.default_priority(), branch)
            }
            (Self::NotTried, _) => (Priority::P3, "none: it was not tried, so that nothing is said about the system"),
        };
        Decision { priority, branch }
    }
}
