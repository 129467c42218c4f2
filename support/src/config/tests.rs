use std::fs;

use insta::assert_snapshot;
use miette::Diagnostic;
use pretty_assertions::assert_eq;
use rstest::rstest;
use tempfile::TempDir;

use super::*;

/// A workspace in which every input of the defaults exists.
struct Workspace(TempDir);

impl Workspace {
    fn new() -> Self {
        let workspace = Self(TempDir::new().expect("a folder"));
        workspace.file("fixtures/sut/reference.toml", "").file("fixtures/sample_prd.md", "");
        workspace
    }

    fn file(&self, path: &str, text: &str) -> &Self {
        let path = self.path(path);
        fs::create_dir_all(path.parent().expect("below the root")).expect("a folder");
        fs::write(path, text).expect("written");
        self
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn load(&self, variables: &[(&str, &str)]) -> Result<Run4Config, ConfigError> {
        Run4Config::load_with(self.0.path(), variables.iter().copied())
    }

    /// The message and the help of the refusal, without the place of this workspace.
    fn refusal(&self, variables: &[(&str, &str)]) -> String {
        let error = self.load(variables).expect_err("refused");
        let help = error.help().expect("a help text").to_string();
        format!("{error}\nhelp: {help}").replace(&self.0.path().display().to_string(), "[root]")
    }
}

#[test]
fn defaults_are_those_of_the_plan_below_the_workspace_root() {
    let workspace = Workspace::new();
    let config = workspace.load(&[]).expect("the defaults fit");
    let root = workspace.0.path().display().to_string();
    let text = serde_json::to_string_pretty(&config).expect("JSON").replace(&root, "[root]");
    assert_snapshot!(text, @r#"
    {
      "build1_project_root": "[root]",
      "build2_project_root": "[root]",
      "build3_project_root": "[root]",
      "output_dir": "[root]/.run4",
      "sut_manifest": "[root]/fixtures/sut/reference.toml",
      "substrate": "process",
      "compose_project_name": "super-team-run4",
      "docker_compose_files": [
        "[root]/docker/docker-compose.infra.yml",
        "[root]/docker/docker-compose.build1.yml",
        "[root]/docker/docker-compose.generated.yml",
        "[root]/docker/docker-compose.traefik.yml",
        "[root]/docker/docker-compose.run4.yml"
      ],
      "health_check_timeout_s": 120,
      "health_check_interval_s": 3.0,
      "required_consecutive_healthy": 2,
      "mcp_startup_timeout_ms": 30000,
      "mcp_tool_timeout_ms": 60000,
      "mcp_first_start_timeout_ms": 120000,
      "mcp_idle_timeout_ms": 60000,
      "max_concurrent_builders": 3,
      "builder_timeout_s": 1800,
      "builder_depth": "thorough",
      "auto_approve": true,
      "max_fix_passes": 5,
      "fix_effectiveness_floor": 0.3,
      "regression_rate_ceiling": 0.25,
      "budget_limit": null,
      "sample_prd_path": "[root]/fixtures/sample_prd.md"
    }
    "#);
}

#[test]
fn every_setting_says_what_it_takes() {
    let defaults = serde_json::to_value(Run4Config::default()).expect("JSON");
    let settings: Vec<_> = defaults.as_object().expect("fields").keys().map(String::as_str).collect();
    assert_eq!(check::ALLOWED.map(|(key, _)| key).to_vec(), settings);
}

#[test]
fn the_file_beats_the_defaults_and_a_variable_beats_the_file() {
    let workspace = Workspace::new();
    workspace.file(FILE_NAME, "builder_timeout_s = 3600\nmax_fix_passes = 7\nbudget_limit = 10\n");
    let config = workspace.load(&[("RUN4_MAX_FIX_PASSES", "2")]).expect("allowed");
    assert_eq!((config.builder_timeout_s, config.max_fix_passes, config.max_concurrent_builders), (3600, 2, 3));
    assert_eq!(config.budget_limit, Some(10.0));
}

#[test]
fn units_become_durations() {
    let config = Run4Config { health_check_interval_s: 0.5, ..Run4Config::default() };
    let (seconds, millis) = (Duration::from_secs, Duration::from_millis);
    assert_eq!(config.health_check_timeout(), seconds(120));
    assert_eq!(config.health_check_interval(), millis(500));
    assert_eq!(config.mcp_startup_timeout(), seconds(30));
    assert_eq!(config.mcp_tool_timeout(), seconds(60));
    assert_eq!(config.mcp_first_start_timeout(), seconds(120));
    assert_eq!(config.mcp_idle_timeout(), seconds(60));
    assert_eq!(config.builder_timeout(), seconds(1800));
}

#[rstest]
#[case("RUN4_COMPOSE_PROJECT_NAME", "007", |config: &Run4Config| config.compose_project_name == "007")]
#[case("NEXTEST_PROFILE", "docker", |config: &Run4Config| config.substrate == Substrate::Docker)]
#[case("NEXTEST_PROFILE", "ci", |config: &Run4Config| config.substrate == Substrate::Process)]
#[case("RUN4_SUBSTRATE", "docker", |config: &Run4Config| config.substrate == Substrate::Docker)]
#[case("RUN4_BUILDER_DEPTH", "quick", |config: &Run4Config| config.builder_depth == BuilderDepth::Quick)]
#[case("RUN4_AUTO_APPROVE", "false", |config: &Run4Config| !config.auto_approve)]
#[case("RUN4_HEALTH_CHECK_INTERVAL_S", "1", |config: &Run4Config| config.health_check_interval_s == 1.0)]
#[case("RUN4_HEALTH_CHECK_INTERVAL_S", "0.25", |config: &Run4Config| config.health_check_interval_s == 0.25)]
#[case("RUN4_BUDGET_LIMIT", "0", |config: &Run4Config| config.budget_limit == Some(0.0))]
#[case("RUN4_MAX_FIX_PASSES", "0", |config: &Run4Config| config.max_fix_passes == 0)]
#[case("RUN4_DOCKER_COMPOSE_FILES", r#"["a.yml", "b.yml"]"#, |config: &Run4Config| config.docker_compose_files.len() == 2)]
fn a_variable_is_read_as_its_setting_needs(
    #[case] name: &str,
    #[case] text: &str,
    #[case] holds: fn(&Run4Config) -> bool,
) {
    let config = Workspace::new().load(&[(name, text)]).expect("allowed");
    assert!(holds(&config), "{config:?}");
}

#[test]
fn relative_paths_start_at_the_workspace_root_and_absolute_ones_stay() {
    let workspace = Workspace::new();
    let elsewhere = TempDir::new().expect("a folder");
    workspace.file("team/build1/README.md", "");
    let absolute = elsewhere.path().to_str().expect("UTF-8");
    let config = workspace
        .load(&[("RUN4_BUILD1_PROJECT_ROOT", "./team/build1"), ("RUN4_BUILD2_PROJECT_ROOT", absolute)])
        .expect("both are there");
    assert_eq!(config.build1_project_root, workspace.path("team/build1"));
    assert_eq!(config.build2_project_root, elsewhere.path());
    assert_eq!(config.build3_project_root, workspace.0.path());
}

#[test]
fn variables_that_are_no_settings_are_ignored() {
    let others = ["RUN4_SESSION", "RUN4_BUNDLE", "RUN4_PYTHON", "RUN4_INTERNAL_SUPERVISOR", "RUN40", "PATH"];
    let config = Workspace::new().load(&others.map(|name| (name, "x"))).expect("the defaults");
    assert_eq!(config.builder_depth, BuilderDepth::Thorough);
}

#[test]
fn an_unknown_key_is_refused_with_its_place_and_the_nearest_one() {
    let workspace = Workspace::new();
    workspace.file(FILE_NAME, "builder_timeout = 60\n");
    assert_snapshot!(workspace.refusal(&[]), @r#"
    unknown key `builder_timeout` in [root]/run4.toml, the nearest known key is `builder_timeout_s`
    help: correct the key, or remove it
    "#);
}

#[test]
fn an_unknown_variable_is_refused_with_the_nearest_one() {
    assert_snapshot!(Workspace::new().refusal(&[("RUN4_SUT_MANIFST", "x.toml")]), @r#"
    unknown key `RUN4_SUT_MANIFST` in the environment, the nearest known key is `RUN4_SUT_MANIFEST`
    help: correct the key, or remove it
    "#);
}

#[test]
fn a_value_of_the_wrong_type_is_refused_with_what_is_allowed() {
    let workspace = Workspace::new();
    workspace.file(FILE_NAME, "health_check_interval_s = \"soon\"\n");
    assert_snapshot!(workspace.refusal(&[]), @r#"
    `health_check_interval_s` is "soon" in [root]/run4.toml, allowed is a number of seconds above 0, at most 604800
    help: change it there, or remove it to use the default
    "#);
}

#[test]
fn a_negative_timeout_is_refused_with_what_is_allowed() {
    assert_snapshot!(Workspace::new().refusal(&[("RUN4_BUILDER_TIMEOUT_S", "-5")]), @r#"
    `RUN4_BUILDER_TIMEOUT_S` is -5 in the environment, allowed is a whole number of seconds, 1 to 604800
    help: change it there, or remove it to use the default
    "#);
}

#[test]
fn a_missing_project_root_is_refused_by_name_and_path() {
    let workspace = Workspace::new();
    workspace.file(FILE_NAME, "build2_project_root = \"agent-team\"\n");
    assert_snapshot!(workspace.refusal(&[]), @r#"
    `build2_project_root` names [root]/agent-team, which is not a directory (set by [root]/run4.toml)
    help: create [root]/agent-team, or point `build2_project_root` at a directory
    "#);
}

#[test]
fn a_missing_manifest_is_refused_by_name_and_path() {
    let workspace = Workspace::new();
    fs::remove_file(workspace.path("fixtures/sut/reference.toml")).expect("removed");
    assert_snapshot!(workspace.refusal(&[]), @r#"
    `sut_manifest` names [root]/fixtures/sut/reference.toml, which is not a file (set by the defaults)
    help: create [root]/fixtures/sut/reference.toml, or point `sut_manifest` at a file
    "#);
}

#[test]
fn a_prd_that_is_a_folder_is_refused() {
    assert_snapshot!(Workspace::new().refusal(&[("RUN4_SAMPLE_PRD_PATH", "fixtures")]), @r#"
    `RUN4_SAMPLE_PRD_PATH` names [root]/fixtures, which is not a file (set by the environment)
    help: create [root]/fixtures, or point `RUN4_SAMPLE_PRD_PATH` at a file
    "#);
}

#[test]
fn a_file_that_is_not_toml_is_refused() {
    let workspace = Workspace::new();
    workspace.file(FILE_NAME, "builder_timeout_s = \n");
    let refusal = workspace.refusal(&[]);
    let first_line = refusal.lines().next().expect("a message");
    assert_snapshot!(first_line, @"cannot read [root]/run4.toml: TOML parse error at line 1, column 21");
}

#[rstest]
#[case("build1_project_root = \"\"")]
#[case("output_dir = 1")]
#[case("substrate = \"podman\"")]
#[case("compose_project_name = \"Super Team\"")]
#[case("compose_project_name = \"\"")]
#[case("docker_compose_files = []")]
#[case("docker_compose_files = [\"a.yml\", 2]")]
#[case("docker_compose_files = \"a.yml\"")]
#[case("health_check_timeout_s = 0")]
#[case("health_check_timeout_s = 1.5")]
#[case("health_check_timeout_s = 604801")]
#[case("health_check_interval_s = 0")]
#[case("health_check_interval_s = -3.0")]
#[case("health_check_interval_s = inf")]
#[case("health_check_interval_s = nan")]
#[case("required_consecutive_healthy = 0")]
#[case("mcp_startup_timeout_ms = -1")]
#[case("mcp_tool_timeout_ms = 0")]
#[case("mcp_first_start_timeout_ms = true")]
#[case("mcp_idle_timeout_ms = 0")]
#[case("max_concurrent_builders = 0")]
#[case("max_concurrent_builders = 5000000000")]
#[case("builder_timeout_s = \"1800\"")]
#[case("builder_depth = \"deep\"")]
#[case("auto_approve = 1")]
#[case("max_fix_passes = -1")]
#[case("fix_effectiveness_floor = 1.01")]
#[case("fix_effectiveness_floor = nan")]
#[case("regression_rate_ceiling = -0.1")]
#[case("budget_limit = -1")]
#[case("budget_limit = inf")]
#[case("budget_limit = \"none\"")]
#[case("sample_prd_path = []")]
fn a_value_that_is_not_allowed_is_refused(#[case] line: &str) {
    let workspace = Workspace::new();
    workspace.file(FILE_NAME, line);
    let (key, found) = line.split_once(" = ").expect("a line of TOML");
    let expected = ConfigError::InvalidValue {
        key: key.into(),
        origin: Origin::File(workspace.path(FILE_NAME)),
        found: found.into(),
        allowed: check::allowed(key),
    };
    assert_eq!(workspace.load(&[]), Err(expected));
}
