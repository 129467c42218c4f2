//! Where things are: the workspace, the programs built from it, and the bundle of this run.

use std::path::{Path, PathBuf};

/// Names the session that a process belongs to; the supervisor's mark on everything it must end.
pub const SESSION_VARIABLE: &str = "RUN4_SESSION";

/// Names the folder in which this run leaves evidence, logs and JUnit files.
pub const BUNDLE_VARIABLE: &str = "RUN4_BUNDLE";

/// The root of the workspace: where nextest says it is, else where this crate was built.
pub fn root() -> PathBuf {
    std::env::var_os("NEXTEST_WORKSPACE_ROOT").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_path_buf).unwrap_or_default(),
        PathBuf::from,
    )
}

/// A path below `fixtures/`.
pub fn fixture(path: impl AsRef<Path>) -> PathBuf {
    root().join("fixtures").join(path)
}

/// The folder of the programs of this build: `target/debug`.
pub fn programs() -> PathBuf {
    let running = std::env::current_exe().unwrap_or_default();
    let folder = running.parent().unwrap_or(Path::new("."));
    if folder.ends_with("deps") { folder.parent().unwrap_or(folder) } else { folder }.to_path_buf()
}

/// The `run4` command of this build.
pub fn run4_program() -> PathBuf {
    programs().join("run4")
}

/// The suite's output folder (plan §7.4): `.run4`.
pub fn output() -> PathBuf {
    root().join(".run4")
}

/// Where this run writes: the folder `cargo run4` or the setup script chose, else the one
/// for runs of a developer, which never touch the last full run.
pub fn bundle() -> PathBuf {
    std::env::var_os(BUNDLE_VARIABLE).map_or_else(|| output().join("local"), PathBuf::from)
}

/// The session of this process: shared by all test processes of a run, or its own.
pub fn session_id() -> String {
    std::env::var(SESSION_VARIABLE).unwrap_or_else(|_| format!("solo-{}", std::process::id()))
}
