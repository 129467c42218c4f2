//! Fix passes: what they change, for better and for worse.

pub mod regressions;
