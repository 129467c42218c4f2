//! Folders as values: what is in them, and copies of them.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use crate::matrix::digest;

/// What running a program leaves beside what it was given: no part of a tree's content.
const LEFTOVERS: [&str; 3] = ["__pycache__", ".pytest_cache", ".git"];

/// The SHA-256 of every file below `root` by its relative path, without the folders named in
/// `without` and without caches. A link counts by where it leads.
///
/// # Errors
/// When something cannot be read; the text names it.
pub fn digests(root: &Path, without: &[&str]) -> io::Result<BTreeMap<PathBuf, String>> {
    let mut found = BTreeMap::new();
    walk(root, without, &mut |path| {
        let content = match path.is_symlink() {
            true => std::fs::read_link(path)?.into_os_string().into_encoded_bytes(),
            false => std::fs::read(path)?,
        };
        found.insert(path.strip_prefix(root).unwrap_or(path).to_path_buf(), digest(&content));
        Ok(())
    })?;
    Ok(found)
}

/// The paths that differ between two results of [`digests`]: added, removed or changed.
pub fn differences(before: &BTreeMap<PathBuf, String>, after: &BTreeMap<PathBuf, String>) -> Vec<PathBuf> {
    let mut paths: Vec<_> = before.keys().chain(after.keys()).collect();
    paths.sort();
    paths.dedup();
    paths.into_iter().filter(|path| before.get(*path) != after.get(*path)).cloned().collect()
}

/// The files below `root` whose name ends with `.<extension>`, sorted.
///
/// # Errors
/// As [`digests`].
pub fn files(root: &Path, extension: &str) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    walk(root, &[], &mut |path| {
        if path.extension().is_some_and(|end| end == extension) {
            found.push(path.to_path_buf());
        }
        Ok(())
    })?;
    found.sort();
    Ok(found)
}

/// Copies the file or folder `from` to `to`, with permissions; links stay links.
///
/// # Errors
/// The file system's own, with the path.
pub fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let named = |error: io::Error| io::Error::new(error.kind(), format!("copy {}: {error}", from.display()));
    if from.is_symlink() {
        return std::fs::read_link(from).and_then(|target| std::os::unix::fs::symlink(target, to)).map_err(named);
    }
    if !from.is_dir() {
        return std::fs::copy(from, to).map(drop).map_err(named);
    }
    std::fs::create_dir_all(to).map_err(named)?;
    for entry in std::fs::read_dir(from).map_err(named)? {
        let entry = entry?;
        copy(&entry.path(), &to.join(entry.file_name()))?;
    }
    std::fs::set_permissions(to, from.metadata().map_err(named)?.permissions()).map_err(named)
}

fn walk(folder: &Path, without: &[&str], visit: &mut dyn FnMut(&Path) -> io::Result<()>) -> io::Result<()> {
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", folder.display()));
    for entry in std::fs::read_dir(folder).map_err(named)? {
        let entry = entry?;
        let (path, name) = (entry.path(), entry.file_name());
        if entry.file_type()?.is_dir() {
            if !LEFTOVERS.iter().chain(without).any(|skipped| name == *skipped) {
                walk(&path, without, visit)?;
            }
        } else {
            visit(&path).map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use pretty_assertions::assert_eq;
    use rstest::rstest;
    use tempfile::TempDir;

    fn tree() -> TempDir {
        let folder = TempDir::new().expect("a folder");
        for (path, text) in [("a.py", "a"), ("src/b.py", "b"), ("src/__pycache__/b.pyc", "x"), (".agent-team/S", "s")] {
            crate::atomic::write(&folder.path().join(path), text).expect("written");
        }
        std::os::unix::fs::symlink("a.py", folder.path().join("link")).expect("a link");
        folder
    }

    #[test]
    fn a_copy_has_the_same_digests() {
        let (one, two) = (tree(), TempDir::new().expect("a folder"));
        copy(one.path(), &two.path().join("copy")).expect("copied");
        let before = digests(one.path(), &[]).expect("readable");
        assert_eq!(digests(&two.path().join("copy"), &[]).expect("readable"), before);
        let paths: Vec<_> = before.keys().map(|path| path.to_string_lossy().into_owned()).collect();
        assert_eq!(paths, [".agent-team/S", "a.py", "link", "src/b.py"]);
    }

    #[rstest]
    #[case::changed("a.py", Some("other"), &["a.py"])]
    #[case::added("src/new.py", Some("n"), &["src/new.py"])]
    #[case::removed("src/b.py", None, &["src/b.py"])]
    #[case::left_out(".agent-team/S", Some("other"), &[])]
    #[case::cache("src/__pycache__/b.pyc", Some("other"), &[])]
    fn every_difference_is_named(#[case] path: &str, #[case] text: Option<&str>, #[case] expected: &[&str]) {
        let folder = tree();
        let seen = |folder: &TempDir| digests(folder.path(), &[".agent-team"]).expect("readable");
        let before = seen(&folder);
        let place = folder.path().join(path);
        match text {
            Some(text) => std::fs::write(place, text).expect("written"),
            None => std::fs::remove_file(place).expect("removed"),
        }
        let different = differences(&before, &seen(&folder));
        assert_eq!(different, expected.iter().map(PathBuf::from).collect::<Vec<_>>());
    }

    #[test]
    fn files_are_found_by_their_end() {
        let folder = tree();
        let found = files(folder.path(), "py").expect("readable");
        assert_eq!(found, [folder.path().join("a.py"), folder.path().join("src/b.py")]);
    }
}
