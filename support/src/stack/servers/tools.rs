//! The programs that an orchestrator finds on its `PATH` (topology.md §8): servers of this
//! machine before those of the toolbox, everything in Python from the toolbox.

use std::{
    os::unix::fs::{DirBuilderExt, symlink},
    path::{Path, PathBuf},
};

use super::{
    account::{Account, on_path, path_folders},
    source::Source,
};
use crate::{
    session::{scratch, shared},
    toolbox,
    verdict::Failure,
    workspace,
};

/// A `PATH` with python3 (that of the toolbox, with uvicorn and what services import), initdb
/// and postgres, redis-server, traefik, st and pact, before the folders of this process's own
/// `PATH`. The servers can be read by the account they run under.
///
/// # Errors
/// UNTESTABLE when neither this machine nor the toolbox has one of them.
pub async fn tools_path() -> Result<String, Failure> {
    shared("tools_path", async || {
        let place = scratch(&workspace::session_id()).join("tools");
        let path = make(&place)?;
        path.into_os_string().into_string().map_err(|path| Failure::broken(format!("{path:?} is no text")))
    })
    .await
}

/// The programs of the stack by what they are for: where each comes from, or why there is none.
pub fn survey() -> [(&'static str, Result<PathBuf, String>); 5] {
    let of_toolbox = |name: &str| {
        let program = toolbox::made().map(|toolbox| toolbox.join("bin").join(name)).filter(|path| path.is_file());
        program.ok_or_else(|| format!("the toolbox has no {name}"))
    };
    let traefik = on_path("traefik").map(|folder| folder.join("traefik")).map_or_else(|| of_toolbox("traefik"), Ok);
    [
        ("postgresql", Source::postgres().map(|source| source.program("postgres"))),
        ("redis", Source::redis().map(|source| source.program("redis-server"))),
        ("traefik", traefik),
        ("st", of_toolbox("st")),
        ("pact", of_toolbox("pact")),
    ]
}

fn make(place: &Path) -> Result<PathBuf, Failure> {
    let untestable = |name: &str, reason: String| Failure::untestable(format!("{name}: {reason}"));
    let account = Account::for_servers().map_err(|reason| untestable("postgresql", reason))?;
    let toolbox = toolbox::folder()?.join("bin");
    let postgres = Source::postgres().map_err(|reason| untestable("postgresql", reason))?;
    let redis = Source::redis().map_err(|reason| untestable("redis", reason))?;
    if place.exists() {
        std::fs::remove_dir_all(place)?;
    }
    let links = place.join("bin");
    std::fs::DirBuilder::new().recursive(true).mode(0o755).create(&links)?;
    let postgres = postgres.readable_by(&account, &place.join("postgresql"))?;
    let redis = redis.readable_by(&account, &place.join("redis"))?;
    // The toolbox has these, too: only a link before it lets those of this machine go first.
    symlink(redis.program("redis-server"), links.join("redis-server"))?;
    if let Some(folder) = on_path("traefik") {
        symlink(folder.join("traefik"), links.join("traefik"))?;
    }
    let folders = [links, toolbox, postgres.folder().to_path_buf()];
    missing(&folders)?;
    std::env::join_paths(folders.into_iter().chain(path_folders())).map(PathBuf::from).map_err(Failure::broken)
}

fn missing(folders: &[PathBuf]) -> Result<(), Failure> {
    const PROGRAMS: [&str; 7] = ["python3", "initdb", "postgres", "redis-server", "traefik", "st", "pact"];
    let lacks = |name: &&str| !folders.iter().any(|folder| folder.join(name).is_file());
    let missing: Vec<_> = PROGRAMS.into_iter().filter(lacks).collect();
    match missing[..] {
        [] => Ok(()),
        _ => Err(Failure::untestable(format!(
            "toolbox: it has no {}; remove {} and make it anew with `cargo run4 doctor`",
            missing.join(", "),
            toolbox::path().display()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    #[test]
    fn a_program_that_is_nowhere_is_named() {
        let folder = TempDir::new().expect("a folder");
        for name in ["python3", "initdb", "postgres", "redis-server", "st"] {
            std::fs::write(folder.path().join(name), "").expect("written");
        }
        let failure = missing(&[folder.path().to_path_buf()]).expect_err("two are missing");
        let reason = failure.status().reason().unwrap_or_default().to_owned();
        assert!(reason.starts_with("toolbox: it has no traefik, pact;"), "{reason}");
        for name in ["traefik", "pact"] {
            std::fs::write(folder.path().join(name), "").expect("written");
        }
        assert!(missing(&[folder.path().to_path_buf()]).is_ok());
    }
}
