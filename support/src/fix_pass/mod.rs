//! Fix passes: what is wrong, who is told, what they change, for better and for worse, and when
//! to stop (plan §5, spec scoring.md §5 to §7).
//!
//! ```text
//! look ── symptoms ──> catalogue ──> instructions ──> apply ──> verify ──> regress ──> stop?
//!   └ ground: where defects are seen and repaired          └──── ledger, saved after each ────┘
//! ```

pub mod catalogue;
pub mod convergence;
pub mod ground;
pub mod instructions;
pub mod ledger;
pub mod passes;
pub mod priority;
pub mod regressions;
pub mod symptom;
pub mod trees;
pub mod violation;
