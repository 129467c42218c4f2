//! Watching a pipeline run from outside: which states it enters, and when.

use std::{
    os::unix::fs::MetadataExt,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{orchestrator::Running, workspace::PipelineWorkspace};
use crate::verdict::Failure;

/// The pause between two looks at PIPELINE_STATE.json; states that last less may be missed.
const LOOK_INTERVAL: Duration = Duration::from_millis(2);

/// The suite's outer bounds (orchestrator.md §10): states, and how long a run may be in them.
/// The orchestrator's own limits are smaller and must end it first.
const LIMITS: [(&[&str], Duration); 6] = [
    (&["init", "architect_running", "architect_review"], Duration::from_secs(30 * 60)),
    (&["contracts_registering"], Duration::from_secs(10 * 60)),
    (&["builders_running", "builders_complete"], Duration::from_secs(6 * 3600)),
    (&["integrating"], Duration::from_secs(3600)),
    (&["quality_gate"], Duration::from_secs(3600)),
    (&["fix_pass"], Duration::from_secs(2 * 3600)),
];

/// What a whole run may take.
const TOTAL_LIMIT: Duration = Duration::from_secs(10 * 3600);

/// A state that a run entered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entered {
    /// The state.
    pub state: String,
    /// Seconds since the start of the orchestrator.
    pub after_s: f64,
}

/// What was seen of a run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Timeline {
    /// The states in the order in which they were seen.
    pub states: Vec<Entered>,
    /// Seconds until the file named deployed services.
    pub deployed_after_s: Option<f64>,
    /// Seconds until the end of the orchestrator.
    pub seconds: f64,
}

impl Timeline {
    /// The seconds from the first entry into one of `states` to the next state that is none of
    /// them, or to the end; none when none of them was seen.
    pub fn seconds_in(&self, states: &[&str]) -> Option<f64> {
        let is_one = |entered: &&Entered| states.contains(&entered.state.as_str());
        let first = self.states.iter().position(|entered| is_one(&entered))?;
        let next = self.states[first..].iter().find(|entered| !is_one(entered));
        Some(next.map_or(self.seconds, |entered| entered.after_s) - self.states[first].after_s)
    }
}

/// Watches a run that has just been started until its end.
///
/// # Errors
/// FAIL when it stays longer than the suite's limit in a state.
pub async fn watch(running: &mut Running, workspace: &PipelineWorkspace) -> Result<Timeline, Failure> {
    let begun = Instant::now();
    let mut timeline = Timeline::default();
    let (mut seen, mut since) = (None, Instant::now());
    loop {
        // Before the look, so that the last state is not missed.
        let has_ended = running.has_ended();
        let stamp = workspace.state_file().metadata().map(|file| (file.ino(), file.mtime(), file.mtime_nsec())).ok();
        if stamp != seen {
            seen = stamp;
            if timeline.note(workspace, begun.elapsed().as_secs_f64()) {
                since = Instant::now();
            }
        }
        timeline.seconds = begun.elapsed().as_secs_f64();
        if has_ended {
            return Ok(timeline);
        }
        let state = timeline.states.last().map_or("init", |entered| entered.state.as_str());
        let limit = LIMITS.iter().find(|(states, _)| states.contains(&state)).map_or(TOTAL_LIMIT, |(_, limit)| *limit);
        if since.elapsed() > limit || begun.elapsed() > TOTAL_LIMIT {
            let seconds = since.elapsed().as_secs();
            return Err(Failure::fail(format!("the run is in {state} for {seconds} s, which is over the limit")));
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

impl Timeline {
    /// Takes what the file says now; gives whether the state is a new one.
    fn note(&mut self, workspace: &PipelineWorkspace, after_s: f64) -> bool {
        let text = std::fs::read(workspace.state_file()).unwrap_or_default();
        let Ok(file) = serde_json::from_slice::<Value>(&text) else { return false };
        if self.deployed_after_s.is_none() && file["services_deployed"].as_array().is_some_and(|all| !all.is_empty()) {
            self.deployed_after_s = Some(after_s);
        }
        let Some(state) = file["current_state"].as_str() else { return false };
        let is_new = self.states.last().is_none_or(|last| last.state != state);
        if is_new {
            self.states.push(Entered { state: state.to_owned(), after_s });
        }
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{pipeline::workspace::blank_state, sut::Command};
    use pretty_assertions::assert_eq;

    fn timeline(states: &[(&str, f64)]) -> Timeline {
        let states = states.iter().map(|(state, after_s)| Entered { state: (*state).to_owned(), after_s: *after_s });
        Timeline { states: states.collect(), deployed_after_s: None, seconds: 9.0 }
    }

    #[test]
    fn a_phase_lasts_until_another_begins() {
        let seen = timeline(&[("init", 0.0), ("architect_running", 1.0), ("architect_review", 2.0), ("failed", 4.5)]);
        assert_eq!(seen.seconds_in(&["architect_running", "architect_review"]), Some(3.5));
        assert_eq!(seen.seconds_in(&["failed"]), Some(4.5));
        assert_eq!(seen.seconds_in(&["integrating"]), None);
    }

    #[tokio::test]
    async fn every_state_is_seen_once_up_to_the_last() {
        let folder = tempfile::tempdir().expect("a folder");
        let workspace = PipelineWorkspace::at(folder.path());
        for (name, state) in [("1", "init"), ("2", "integrating"), ("3", "complete")] {
            let mut text = blank_state(state, &[]);
            if name == "3" {
                text["services_deployed"] = serde_json::json!(["orders"]);
            }
            crate::atomic::write_json(&folder.path().join(name), &text).expect("written");
        }
        let script = "mkdir -p .super-orchestrator; for i in 1 2 2 3; do \
                      mv $i .super-orchestrator/PIPELINE_STATE.json 2>/dev/null; sleep 0.1; done";
        let argv = ["sh", "-c", script].map(str::to_owned).to_vec();
        let cwd = folder.path().to_path_buf();
        let program = Command { key: "orchestrator".into(), argv, cwd, env: Default::default(), ready: None };
        let mut running = Running::start(&program, &["run"], &workspace, &folder.path().join("logs")).expect("sh runs");
        let seen = watch(&mut running, &workspace).await.expect("an end");
        let states: Vec<_> = seen.states.iter().map(|entered| entered.state.as_str()).collect();
        assert_eq!(states, ["init", "integrating", "complete"]);
        assert!(seen.deployed_after_s >= Some(0.1), "{seen:?}");
    }
}
