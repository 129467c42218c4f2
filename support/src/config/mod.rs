//! What a run is told: defaults, then `run4.toml`, then `RUN4_*` variables (R4-M1-001,
//! spec README §7).
//!
//! ```no_run
//! let config = support::config::Run4Config::load(std::path::Path::new("."))?;
//! assert!(config.build1_project_root.is_absolute());
//! # Ok::<(), support::config::ConfigError>(())
//! ```

mod check;
mod error;
mod layers;
#[cfg(test)]
mod tests;

use std::{
    ffi::OsString,
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use error::{ConfigError, Origin};

/// The file below the workspace root that overrides the defaults.
pub const FILE_NAME: &str = "run4.toml";

/// The settings of a run, with the plan's names and units. A value made by
/// [`Run4Config::load`] holds absolute paths only, and its inputs exist.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run4Config {
    /// Folder of Build 1 (Architect, Contract Engine, Codebase Intelligence).
    pub build1_project_root: PathBuf,
    /// Folder of Build 2 (builder).
    pub build2_project_root: PathBuf,
    /// Folder of Build 3 (orchestrator).
    pub build3_project_root: PathBuf,
    /// Where the suite writes; made on first use.
    pub output_dir: PathBuf,
    /// The profile of the system under test (spec README §4).
    pub sut_manifest: PathBuf,
    /// Where services run.
    pub substrate: Substrate,
    /// Name of the compose project.
    pub compose_project_name: String,
    /// Compose files in the order of their merge; the generated one may be missing before phase 6.
    pub docker_compose_files: Vec<PathBuf>,
    /// How long services may take to become healthy, in seconds.
    pub health_check_timeout_s: u64,
    /// Pause between two health polls, in seconds.
    pub health_check_interval_s: f64,
    /// Healthy answers in a row that make a service healthy.
    pub required_consecutive_healthy: u32,
    /// How long an MCP server may take to start and initialise, in milliseconds.
    pub mcp_startup_timeout_ms: u64,
    /// How long one MCP tool call may take, in milliseconds.
    pub mcp_tool_timeout_ms: u64,
    /// The start limit of a server that may have to fetch a model first, in milliseconds.
    pub mcp_first_start_timeout_ms: u64,
    /// How long a server may send nothing at all while a call is open, in milliseconds.
    pub mcp_idle_timeout_ms: u64,
    /// Builders that run at the same time.
    pub max_concurrent_builders: u32,
    /// How long one builder may take, in seconds.
    pub builder_timeout_s: u64,
    /// Depth that builders are called with (D-48).
    pub builder_depth: BuilderDepth,
    /// Whether the orchestrator's config lets it go on without a human (D-44).
    pub auto_approve: bool,
    /// Upper limit of fix passes.
    pub max_fix_passes: u32,
    /// Net fix effectiveness, 0 to 1, below which two passes in a row end the loop.
    pub fix_effectiveness_floor: f64,
    /// Regression rate, 0 to 1, above which two passes in a row end the loop.
    pub regression_rate_ceiling: f64,
    /// What a run may cost, in US dollars; no limit when absent.
    pub budget_limit: Option<f64>,
    /// The PRD that the pipeline is given.
    pub sample_prd_path: PathBuf,
}

/// Where services run (spec README §3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Substrate {
    /// Processes of this machine, no containers.
    Process,
    /// A compose project.
    Docker,
}

impl fmt::Display for Substrate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Process => "process",
            Self::Docker => "docker",
        })
    }
}

/// How thorough a builder works: the values of `--depth` (spec builder.md §1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BuilderDepth {
    /// Scans are off; used by fix passes.
    Quick,
    /// The builder's own default.
    Standard,
    /// The suite's default.
    Thorough,
    /// Everything the builder has.
    Exhaustive,
}

impl fmt::Display for BuilderDepth {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Quick => "quick",
            Self::Standard => "standard",
            Self::Thorough => "thorough",
            Self::Exhaustive => "exhaustive",
        })
    }
}

impl Default for Run4Config {
    /// The defaults of R4-M1-001 and spec README §7; paths are relative to the workspace root.
    fn default() -> Self {
        let compose_files = ["infra", "build1", "generated", "traefik", "run4"];
        Self {
            build1_project_root: ".".into(),
            build2_project_root: ".".into(),
            build3_project_root: ".".into(),
            output_dir: ".run4".into(),
            sut_manifest: "fixtures/sut/reference.toml".into(),
            substrate: Substrate::Process,
            compose_project_name: "super-team-run4".into(),
            docker_compose_files: compose_files.map(|name| format!("docker/docker-compose.{name}.yml").into()).to_vec(),
            health_check_timeout_s: 120,
            health_check_interval_s: 3.0,
            required_consecutive_healthy: 2,
            mcp_startup_timeout_ms: 30_000,
            mcp_tool_timeout_ms: 60_000,
            mcp_first_start_timeout_ms: 120_000,
            mcp_idle_timeout_ms: 60_000,
            max_concurrent_builders: 3,
            builder_timeout_s: 1800,
            builder_depth: BuilderDepth::Thorough,
            auto_approve: true,
            max_fix_passes: 5,
            fix_effectiveness_floor: 0.30,
            regression_rate_ceiling: 0.25,
            budget_limit: None,
            sample_prd_path: "fixtures/sample_prd.md".into(),
        }
    }
}

impl Run4Config {
    /// Reads the settings of the workspace at `workspace_root`: defaults, then its
    /// `run4.toml`, then the `RUN4_*` variables of this process. Relative paths are taken
    /// from the workspace root.
    ///
    /// Variables that select a session instead of a setting (`RUN4_SESSION`, `RUN4_BUNDLE`,
    /// `RUN4_PYTHON`, `RUN4_INTERNAL_*`) are ignored.
    ///
    /// # Errors
    /// For an unknown key, a value of the wrong type or out of range, an unreadable
    /// `run4.toml`, and a project root, PRD or manifest that does not exist.
    pub fn load(workspace_root: &Path) -> Result<Self, ConfigError> {
        Self::load_with(workspace_root, std::env::vars_os())
    }

    /// As [`Run4Config::load`], with the given variables instead of the process's own.
    ///
    /// # Errors
    /// As [`Run4Config::load`].
    pub fn load_with<Name: Into<OsString>, Text: Into<OsString>>(
        workspace_root: &Path,
        variables: impl IntoIterator<Item = (Name, Text)>,
    ) -> Result<Self, ConfigError> {
        let root = std::path::absolute(workspace_root).map_err(|error| ConfigError::Unreadable {
            path: workspace_root.to_path_buf(),
            reason: error.to_string(),
        })?;
        let variables = variables.into_iter().map(|(name, text)| (name.into(), text.into()));
        let layers = layers::Layers::read(&root.join(FILE_NAME), variables)?;
        let mut config = layers.extract()?;
        check::values(&config, &layers)?;
        config.resolve(&root);
        check::inputs_exist(&config, &layers)?;
        Ok(config)
    }

    fn resolve(&mut self, root: &Path) {
        let single = [
            &mut self.build1_project_root,
            &mut self.build2_project_root,
            &mut self.build3_project_root,
            &mut self.output_dir,
            &mut self.sut_manifest,
            &mut self.sample_prd_path,
        ];
        for path in single.into_iter().chain(&mut self.docker_compose_files) {
            // Collecting the components drops `.` parts, so that messages show plain paths.
            *path = root.join(&path).components().collect();
        }
    }

    /// How long services may take to become healthy.
    pub fn health_check_timeout(&self) -> Duration {
        Duration::from_secs(self.health_check_timeout_s)
    }

    /// Pause between two health polls.
    pub fn health_check_interval(&self) -> Duration {
        Duration::try_from_secs_f64(self.health_check_interval_s).unwrap_or(Duration::MAX)
    }

    /// How long an MCP server may take to start and initialise.
    pub fn mcp_startup_timeout(&self) -> Duration {
        Duration::from_millis(self.mcp_startup_timeout_ms)
    }

    /// How long one MCP tool call may take.
    pub fn mcp_tool_timeout(&self) -> Duration {
        Duration::from_millis(self.mcp_tool_timeout_ms)
    }

    /// The start limit of a server that may have to fetch a model first.
    pub fn mcp_first_start_timeout(&self) -> Duration {
        Duration::from_millis(self.mcp_first_start_timeout_ms)
    }

    /// How long a server may send nothing at all while a call is open.
    pub fn mcp_idle_timeout(&self) -> Duration {
        Duration::from_millis(self.mcp_idle_timeout_ms)
    }

    /// How long one builder may take.
    pub fn builder_timeout(&self) -> Duration {
        Duration::from_secs(self.builder_timeout_s)
    }
}
