//! The services of a run.

pub mod bus;
pub mod compose;
pub mod docker;
pub mod health;
pub mod servers;
pub mod service;
pub mod tokens;
