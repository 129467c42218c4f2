//! Drives the orchestrator and reads what it and the builders leave.

pub mod builder_state;
