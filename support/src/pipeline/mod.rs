//! Drives builders and the orchestrator, and reads what they leave.

pub mod builder;
pub mod builder_config;
pub mod builder_inputs;
pub mod builder_state;
pub mod decomposition;
pub mod gate;
pub mod orchestrator;
pub mod orchestrator_config;
pub mod phases;
pub mod scripted_builder;
pub mod spec_hash;
pub mod watch;
pub mod workspace;
