//! Fix passes: what they are told, and what they change, for better and for worse.

pub mod instructions;
pub mod regressions;
pub mod violation;
