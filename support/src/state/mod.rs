//! What a run has done so far, and how it goes on after a stop (R4-M1-002, plan §7,
//! spec README §7).

mod finding;
mod persistence;
mod results;

#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use serde_json::{Map, Value};
use uuid::Uuid;

pub use finding::{CatalogFull, Finding, FindingId, InvalidFindingId, Priority, Resolution, System};
pub use persistence::{FILE_NAME, Loaded, StateError, TEMPORARY_NAME, Unusable};
pub use results::{FixPass, HealthResult, HealthStatus};

/// The number of milestones; they are counted from 1.
pub const MILESTONES: u8 = 6;

const SCHEMA_VERSION: u32 = 1;

/// The state of a run, with the plan's field names (plan §7.1).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run4State {
    /// UUIDv4 of the run.
    pub run_id: Uuid,
    /// When the run began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<DateTime<Utc>>,
    /// When the state was last saved; set by [`Run4State::save`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<DateTime<Utc>>,
    /// The milestone being worked on, 1 to 6; 0 before the first.
    #[serde(deserialize_with = "milestone_or_none")]
    pub current_milestone: u8,
    /// The phase within the milestone; `not_started` at first.
    pub current_phase: String,
    /// The milestones that are done, each 1 to 6.
    #[serde(default, deserialize_with = "milestones")]
    pub completed_milestones: BTreeSet<u8>,
    /// What each milestone left, by its own keys.
    #[serde(default)]
    pub milestone_artifacts: Map<String, Value>,

    /// M2: health of each MCP server.
    #[serde(default)]
    pub mcp_health: BTreeMap<String, HealthResult>,
    /// M2: result of each tool.
    #[serde(default)]
    pub mcp_tool_results: BTreeMap<String, Map<String, Value>>,
    /// M2: Build 2 reaches Build 1.
    #[serde(default)]
    pub b1_b2_wiring_passed: bool,

    /// M3: the orchestrator can start a builder.
    #[serde(default)]
    pub builder_invocation_passed: bool,
    /// M3: the builder's STATE.json is understood.
    #[serde(default)]
    pub state_json_parsing_passed: bool,
    /// M3: the generated builder config is accepted.
    #[serde(default)]
    pub config_generation_passed: bool,
    /// M3: Build 3 reaches Build 2.
    #[serde(default)]
    pub b2_b3_wiring_passed: bool,

    /// M4: all seven phases ran.
    #[serde(default)]
    pub pipeline_completed: bool,
    /// M4: names of the deployed services.
    #[serde(default)]
    pub services_deployed: Vec<String>,
    /// M4: names of those that became healthy.
    #[serde(default)]
    pub services_healthy: Vec<String>,
    /// M4: the integration report as read.
    #[serde(default)]
    pub integration_report: Map<String, Value>,
    /// M4: the quality gate report as read.
    #[serde(default)]
    pub quality_gate_report: Map<String, Value>,

    /// M5: every defect found.
    #[serde(default)]
    pub defect_catalog: Vec<Finding>,
    /// M5: the figures of each fix pass.
    #[serde(default)]
    pub fix_passes: Vec<FixPass>,
    /// M5: how many passes ran.
    #[serde(default)]
    pub total_fix_passes: u32,
    /// M5: convergence, 0 to 1.
    #[serde(default)]
    pub convergence_score: f64,

    /// M6: where the report is.
    #[serde(default)]
    pub audit_report_path: String,
    /// M6: score of `build1`, `build2`, `build3`, 0 to 100; only those measured.
    #[serde(default)]
    pub per_system_scores: BTreeMap<String, f64>,
    /// M6: integration score, 0 to 100.
    #[serde(default)]
    pub integration_score: f64,
    /// M6: aggregate score, 0 to 100.
    #[serde(default)]
    pub aggregate_score: f64,

    /// Measured cost of the run in US dollars.
    #[serde(default)]
    pub total_cost: f64,
    /// Measured cost of each phase in US dollars; only those measured.
    #[serde(default)]
    pub phase_costs: BTreeMap<String, f64>,

    /// Whether a signal ended the run (D-02).
    #[serde(default)]
    pub interrupted: bool,
    /// The signal, or why the current phase failed; empty while all is well.
    #[serde(default)]
    pub interrupt_reason: String,

    schema_version: u32,
}

impl Default for Run4State {
    fn default() -> Self {
        Self::new()
    }
}

impl Run4State {
    /// The state of a run that begins now, under an id of its own.
    pub fn new() -> Self {
        Self {
            run_id: Uuid::new_v4(),
            started_at: Some(Utc::now()),
            updated_at: None,
            current_milestone: 0,
            current_phase: "not_started".into(),
            completed_milestones: BTreeSet::new(),
            milestone_artifacts: Map::new(),
            mcp_health: BTreeMap::new(),
            mcp_tool_results: BTreeMap::new(),
            b1_b2_wiring_passed: false,
            builder_invocation_passed: false,
            state_json_parsing_passed: false,
            config_generation_passed: false,
            b2_b3_wiring_passed: false,
            pipeline_completed: false,
            services_deployed: Vec::new(),
            services_healthy: Vec::new(),
            integration_report: Map::new(),
            quality_gate_report: Map::new(),
            defect_catalog: Vec::new(),
            fix_passes: Vec::new(),
            total_fix_passes: 0,
            convergence_score: 0.0,
            audit_report_path: String::new(),
            per_system_scores: BTreeMap::new(),
            integration_score: 0.0,
            aggregate_score: 0.0,
            total_cost: 0.0,
            phase_costs: BTreeMap::new(),
            interrupted: false,
            interrupt_reason: String::new(),
            schema_version: SCHEMA_VERSION,
        }
    }

    /// The version of the file's shape; always 1.
    pub fn schema_version(&self) -> u32 {
        self.schema_version
    }

    /// Where a run goes on: the first milestone that is not completed, or none when all are
    /// (D-03). What `current_milestone` says is no part of it.
    pub fn first_open_milestone(&self) -> Option<u8> {
        (1..=MILESTONES).find(|milestone| !self.completed_milestones.contains(milestone))
    }

    /// Notes that work on `phase` of `milestone` begins; an earlier interruption or failure
    /// is over.
    pub fn begin(&mut self, milestone: u8, phase: impl Into<String>) {
        self.current_milestone = milestone;
        self.current_phase = phase.into();
        self.interrupted = false;
        self.interrupt_reason.clear();
    }

    /// Notes that `milestone` is done; a second time changes nothing.
    pub fn complete(&mut self, milestone: u8) {
        self.completed_milestones.insert(milestone);
    }

    /// Notes why the current phase failed, before the error leaves (D-03).
    pub fn fail(&mut self, reason: impl Into<String>) {
        self.interrupted = false;
        self.interrupt_reason = reason.into();
    }

    /// Notes that a signal ends the run (D-02).
    pub fn interrupt(&mut self, reason: impl Into<String>) {
        self.interrupted = true;
        self.interrupt_reason = reason.into();
    }
}

fn milestone_or_none<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u8, D::Error> {
    let milestone = u8::deserialize(deserializer)?;
    if milestone <= MILESTONES {
        return Ok(milestone);
    }
    Err(D::Error::custom(format!("milestone {milestone} is not one of 0 to {MILESTONES}")))
}

fn milestones<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeSet<u8>, D::Error> {
    let milestones = BTreeSet::<u8>::deserialize(deserializer)?;
    match milestones.iter().find(|milestone| !(1..=MILESTONES).contains(*milestone)) {
        None => Ok(milestones),
        Some(other) => Err(D::Error::custom(format!("milestone {other} is not one of 1 to {MILESTONES}"))),
    }
}
