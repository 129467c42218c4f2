//! What tests measure for the scores of the Builds (spec scoring.md §1, §9): requirements and
//! their implementation, routes, outputs, source, artifacts. A test keeps each figure as an
//! observation of [`Input`](crate::audit::Input); the audit only reads those.

pub mod artifacts;
mod fix_instructions;
pub mod outputs;
mod prd;
mod register;
mod requirements;
mod routes;
mod schemas;
pub mod source;

pub use register::register;
pub use requirements::{RequirementError, RequirementTable};
pub use routes::{Route, RouteError, RouteTable};
