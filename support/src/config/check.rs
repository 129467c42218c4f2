//! What each setting takes.

use std::{ops::RangeInclusive, path::Path};

use super::{ConfigError, Run4Config, layers::Layers};

const WEEK_S: u64 = 604_800;
const DAY_MS: u64 = 86_400_000;
const COUNT: RangeInclusive<u32> = 1..=1000;

const DIRECTORY: &str = "a directory";
const FILE: &str = "a file";
const A_PATH: &str = "a path that is not empty";
const SECONDS: &str = "a whole number of seconds, 1 to 604800";
const MILLISECONDS: &str = "a whole number of milliseconds, 1 to 86400000";
const A_COUNT: &str = "a whole number, 1 to 1000";
const A_SHARE: &str = "a number, 0 to 1";

/// Every setting and the values it takes, in words for error messages.
pub(super) const ALLOWED: [(&str, &str); 24] = [
    ("build1_project_root", A_PATH),
    ("build2_project_root", A_PATH),
    ("build3_project_root", A_PATH),
    ("output_dir", A_PATH),
    ("sut_manifest", A_PATH),
    ("substrate", "\"process\" or \"docker\""),
    ("compose_project_name", "lower-case letters, digits, `-` and `_`, a letter or digit first"),
    ("docker_compose_files", "a list of one or more paths"),
    ("health_check_timeout_s", SECONDS),
    ("health_check_interval_s", "a number of seconds above 0, at most 604800"),
    ("required_consecutive_healthy", A_COUNT),
    ("mcp_startup_timeout_ms", MILLISECONDS),
    ("mcp_tool_timeout_ms", MILLISECONDS),
    ("mcp_first_start_timeout_ms", MILLISECONDS),
    ("mcp_idle_timeout_ms", MILLISECONDS),
    ("max_concurrent_builders", A_COUNT),
    ("builder_timeout_s", SECONDS),
    ("builder_depth", "\"quick\", \"standard\", \"thorough\" or \"exhaustive\""),
    ("auto_approve", "true or false"),
    ("max_fix_passes", "a whole number, 0 to 1000"),
    ("fix_effectiveness_floor", A_SHARE),
    ("regression_rate_ceiling", A_SHARE),
    ("budget_limit", "an amount in US dollars, 0 or more"),
    ("sample_prd_path", A_PATH),
];

/// What `key` takes.
pub(super) fn allowed(key: &str) -> &'static str {
    ALLOWED.iter().find(|(name, _)| *name == key).map_or("another value", |(_, allowed)| allowed)
}

/// Refuses the first value outside its range.
pub(super) fn values(config: &Run4Config, layers: &Layers) -> Result<(), ConfigError> {
    let share = 0.0..=1.0;
    let seconds = 1..=WEEK_S;
    let milliseconds = 1..=DAY_MS;
    let named = |path: &Path| !path.as_os_str().is_empty();
    let files = &config.docker_compose_files;
    // Comparisons with NaN are false, so a NaN is refused as well.
    let verdicts = [
        ("build1_project_root", named(&config.build1_project_root)),
        ("build2_project_root", named(&config.build2_project_root)),
        ("build3_project_root", named(&config.build3_project_root)),
        ("output_dir", named(&config.output_dir)),
        ("sut_manifest", named(&config.sut_manifest)),
        ("compose_project_name", is_project_name(&config.compose_project_name)),
        ("docker_compose_files", !files.is_empty() && files.iter().all(|path| named(path))),
        ("health_check_timeout_s", seconds.contains(&config.health_check_timeout_s)),
        (
            "health_check_interval_s",
            config.health_check_interval_s > 0.0 && config.health_check_interval_s <= WEEK_S as f64,
        ),
        ("required_consecutive_healthy", COUNT.contains(&config.required_consecutive_healthy)),
        ("mcp_startup_timeout_ms", milliseconds.contains(&config.mcp_startup_timeout_ms)),
        ("mcp_tool_timeout_ms", milliseconds.contains(&config.mcp_tool_timeout_ms)),
        ("mcp_first_start_timeout_ms", milliseconds.contains(&config.mcp_first_start_timeout_ms)),
        ("mcp_idle_timeout_ms", milliseconds.contains(&config.mcp_idle_timeout_ms)),
        ("max_concurrent_builders", COUNT.contains(&config.max_concurrent_builders)),
        ("builder_timeout_s", seconds.contains(&config.builder_timeout_s)),
        ("max_fix_passes", config.max_fix_passes <= *COUNT.end()),
        ("fix_effectiveness_floor", share.contains(&config.fix_effectiveness_floor)),
        ("regression_rate_ceiling", share.contains(&config.regression_rate_ceiling)),
        ("budget_limit", config.budget_limit.is_none_or(|limit| limit >= 0.0 && limit.is_finite())),
        ("sample_prd_path", named(&config.sample_prd_path)),
    ];
    verdicts.iter().find(|(_, holds)| !holds).map_or(Ok(()), |(key, _)| Err(layers.refuse(key)))
}

/// Refuses the first input of the run that is not there. Compose files are no inputs: they
/// are read on the docker substrate only, and one is written during the run (D-05).
pub(super) fn inputs_exist(config: &Run4Config, layers: &Layers) -> Result<(), ConfigError> {
    let inputs = [
        ("build1_project_root", &config.build1_project_root, DIRECTORY),
        ("build2_project_root", &config.build2_project_root, DIRECTORY),
        ("build3_project_root", &config.build3_project_root, DIRECTORY),
        ("sut_manifest", &config.sut_manifest, FILE),
        ("sample_prd_path", &config.sample_prd_path, FILE),
    ];
    for (key, path, expected) in inputs {
        let there = if expected == DIRECTORY { path.is_dir() } else { path.is_file() };
        if !there {
            let (key, origin) = (layers.spelled(key), layers.origin(key));
            return Err(ConfigError::MissingPath { key, path: path.display().to_string(), expected, origin });
        }
    }
    Ok(())
}

/// The rule of compose for project names.
fn is_project_name(name: &str) -> bool {
    let plain = |letter: &char| letter.is_ascii_lowercase() || letter.is_ascii_digit();
    name.chars().next().is_some_and(|first| plain(&first))
        && name.chars().all(|letter| plain(&letter) || matches!(letter, '-' | '_'))
}
