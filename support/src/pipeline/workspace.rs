//! The folder of one pipeline run, and what an orchestrator leaves there (orchestrator.md §5).

use std::{
    fs::DirBuilder,
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use uuid::Uuid;

use crate::{atomic, session::scratch, tree, verdict::Failure, workspace::session_id};

/// The folder of the orchestrator's own files.
const OWN: &str = ".super-orchestrator";

/// How much of a test's name is in the name of its workspace: sockets of servers lie deep in
/// it, and their paths are limited to 108 bytes.
const NAME_LENGTH: usize = 12;

/// The folder of one run: `--cwd` of an orchestrator.
///
/// It lies below the session's scratch folder: whatever a run leaves behind works there, and is
/// found and ended with the session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PipelineWorkspace {
    root: PathBuf,
}

impl PipelineWorkspace {
    /// A new, empty workspace whose name begins like `name`.
    ///
    /// # Errors
    /// The file system's own.
    pub fn create(name: &str) -> io::Result<Self> {
        let name: String = name.chars().filter(|letter| letter.is_ascii_alphanumeric()).take(NAME_LENGTH).collect();
        let unique = Uuid::new_v4().simple().to_string();
        let root = scratch(&session_id()).join("pipelines").join(format!("{name}-{}", &unique[..6]));
        // Servers that run under an account of their own must get in.
        DirBuilder::new().recursive(true).mode(0o755).create(&root)?;
        Ok(Self { root })
    }

    /// The workspace at `root`.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// One of the orchestrator's own files: `service_map.json`, `QUALITY_GATE_REPORT.md`.
    pub fn file(&self, name: &str) -> PathBuf {
        self.root.join(OWN).join(name)
    }

    /// PIPELINE_STATE.json.
    pub fn state_file(&self) -> PathBuf {
        self.file("PIPELINE_STATE.json")
    }

    /// The configuration that an orchestrator reads when it is given none.
    pub fn config_file(&self) -> PathBuf {
        self.file("config.yaml")
    }

    /// The project folder of the builder of one service.
    pub fn build(&self, service: &str) -> PathBuf {
        self.root.join("builds").join(service)
    }

    /// What the orchestrator's ComposeGenerator writes.
    pub fn compose_file(&self) -> PathBuf {
        self.root.join("docker/docker-compose.generated.yml")
    }

    /// Writes a file below the folder.
    ///
    /// # Errors
    /// The file system's own.
    pub fn put(&self, path: impl AsRef<Path>, text: impl AsRef<[u8]>) -> io::Result<()> {
        atomic::write(&self.root.join(path), text)
    }

    /// One of the orchestrator's own files, as JSON.
    ///
    /// # Errors
    /// FAIL when it is missing or no JSON: whoever asks was promised it.
    pub fn json(&self, name: &str) -> Result<Value, Failure> {
        serde_json::from_str(&self.text(name)?).map_err(|error| Failure::fail(format!("{name} is no JSON: {error}")))
    }

    /// One of the orchestrator's own files.
    ///
    /// # Errors
    /// FAIL when it is missing: whoever asks was promised it.
    pub fn text(&self, name: &str) -> Result<String, Failure> {
        std::fs::read_to_string(self.file(name)).map_err(|error| Failure::fail(format!("{name}: {error}")))
    }

    /// PIPELINE_STATE.json.
    ///
    /// # Errors
    /// As [`PipelineWorkspace::json`].
    pub fn state(&self) -> Result<Value, Failure> {
        self.json("PIPELINE_STATE.json")
    }

    /// Writes PIPELINE_STATE.json.
    ///
    /// # Errors
    /// The file system's own.
    pub fn write_state(&self, state: &Value) -> io::Result<()> {
        atomic::write_json(&self.state_file(), state)
    }

    /// `current_state`, when the file is there and says one.
    pub fn current_state(&self) -> Option<String> {
        let state: Value = serde_json::from_slice(&std::fs::read(self.state_file()).ok()?).ok()?;
        state["current_state"].as_str().map(str::to_owned)
    }

    /// Copies what tells of a run into `to`: state, reports, configuration and logs.
    ///
    /// # Errors
    /// The file system's own.
    pub fn copy_records(&self, to: &Path) -> io::Result<()> {
        let own = self.root.join(OWN);
        if !own.is_dir() {
            return Ok(());
        }
        std::fs::create_dir_all(to)?;
        for entry in std::fs::read_dir(own)? {
            let entry = entry?;
            // Not data, snapshots, pid files: they are large, or mean nothing afterwards.
            if entry.file_type()?.is_file() || entry.file_name() == "logs" {
                tree::copy(&entry.path(), &to.join(entry.file_name()))?;
            }
        }
        Ok(())
    }
}

/// A PIPELINE_STATE.json with every key of orchestrator.md §5.1, as after `completed` phases,
/// none of them with a result yet. Change what a test needs and write it with
/// [`PipelineWorkspace::write_state`].
pub fn blank_state(current_state: &str, completed: &[&str]) -> Value {
    let now = chrono::Utc::now().to_rfc3339();
    json!({
        "pipeline_id": Uuid::new_v4().to_string(), "prd_path": "prd.md", "config_path": null, "depth": "thorough",
        "current_state": current_state, "previous_state": completed.last(), "completed_phases": completed,
        "phase_artifacts": {}, "architect_retries": 0, "max_architect_retries": 2,
        "service_map_path": null, "contract_registry_path": null, "domain_model_path": null,
        "builder_statuses": {}, "builder_costs": {}, "builder_results": [],
        "total_builders": 0, "successful_builders": 0, "services_deployed": [],
        "integration_report_path": null, "quality_attempts": 0, "max_quality_retries": 3,
        "last_quality_results": {}, "quality_report_path": null,
        "total_cost": 0.0, "phase_costs": {}, "budget_limit": null, "started_at": now, "updated_at": now,
        "interrupted": false, "interrupt_reason": null, "schema_version": 1,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use pretty_assertions::assert_eq;

    #[test]
    fn a_workspace_is_short_named_and_its_own() {
        let [one, two] = [(); 2].map(|()| PipelineWorkspace::create("b3_05_cli_commands::case").expect("a folder"));
        assert_ne!(one, two);
        let name = one.root().file_name().expect("a name").to_string_lossy().into_owned();
        assert!(name.starts_with("b305clicomma-") && name.len() == 19, "{name}");
        let pipelines = one.root().parent().expect("a folder").to_path_buf();
        for workspace in [one, two] {
            std::fs::remove_dir(workspace.root()).expect("empty");
        }
        // The folders above are the session's, which may have others below them.
        for folder in [pipelines.as_path(), pipelines.parent().expect("a folder")] {
            if std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none()) {
                std::fs::remove_dir(folder).expect("empty");
            }
        }
    }

    #[test]
    fn records_are_copied_without_data() {
        let folder = tempfile::tempdir().expect("a folder");
        let workspace = PipelineWorkspace::at(folder.path().join("w"));
        workspace.write_state(&blank_state("init", &[])).expect("written");
        for path in ["logs/a.err", "data/postgresql/base", "run/a.pid"] {
            workspace.put(Path::new(OWN).join(path), "x").expect("written");
        }
        let to = folder.path().join("copy");
        workspace.copy_records(&to).expect("copied");
        let found = tree::digests(&to, &[]).expect("readable");
        let found: Vec<_> = found.keys().map(|path| path.to_string_lossy().into_owned()).collect();
        assert_eq!(found, ["PIPELINE_STATE.json", "logs/a.err"]);
        assert_eq!(workspace.current_state().as_deref(), Some("init"));
    }

    #[test]
    fn what_is_missing_is_named() {
        let workspace = PipelineWorkspace::at("/nowhere");
        let error = format!("{:?}", workspace.json("service_map.json").expect_err("missing"));
        assert!(error.starts_with("FAIL: service_map.json: "), "{error}");
        assert_eq!(workspace.current_state(), None);
    }
}
