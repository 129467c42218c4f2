//! Mechanisms of the Run 4 suite. `tests/` tells the stories; everything they need is here.
//!
//! A test takes fixtures, acts, and says each promise as a fact with its evidence:
//!
//! ```no_run
//! use serde_json::json;
//! use support::{mcp::Kind, prelude::*};
//!
//! /// B1-04, in short: a good specification is valid.
//! async fn b1_04_contract_validation(mut build1: Build1, evidence: Evidence) -> Verdict {
//!     let session = build1.session("contract-engine").await?;
//!     let reply = session.call("validate_spec", json!({ "type": "openapi", "spec": {} })).await?;
//!     let verdict = reply.value(Kind::Object)?;
//!     evidence.check_eq("an empty document is not valid", &verdict["valid"], &json!(false))
//! }
//! ```
//!
//! The suite reaches the system under test through processes only: this crate depends on no
//! crate of the reference system.

pub mod atomic;
pub mod audit;
pub mod browser;
pub mod command;
pub mod config;
pub mod contracts;
pub mod evidence;
pub mod fix_pass;
pub mod fixtures;
pub mod matrix;
pub mod mcp;
pub mod measure;
pub mod pipeline;
pub mod session;
pub mod stack;
pub mod state;
pub mod sut;
pub mod toolbox;
pub mod tree;
pub mod verdict;
pub mod workspace;

/// What nearly every test needs.
pub mod prelude {
    pub use crate::{
        evidence::Evidence,
        fixtures::{
            Build1, Builder, ClientProbe, Orchestrator, PipelineRun, build1, builder, client_methods, client_probe,
            config, evidence, orchestrator, pipeline_run, toolset,
        },
        mcp::ClientMethods,
        verdict::{Failure, Verdict},
    };
}
