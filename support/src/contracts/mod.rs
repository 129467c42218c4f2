//! The suite's own contract check: what live services answer, held to the contracts that are
//! registered. It shares nothing with the tests of an orchestrator, so that what the one finds
//! and the other does not is a finding of its own (spec matrix.md, B3-03, SC-04).
//!
//! It knows the sample application (tasktracker.md §1), also under other names.

mod answer;
mod check;

pub use answer::{Breach, breaches};
pub use check::{OwnCheck, check_orders, check_users};
