//! Files that are whole or not there.

use std::{fs, io, path::Path};

use serde::Serialize;

/// Writes `bytes` to a temporary file beside `path` and renames it into place, making the
/// folder when it is missing.
///
/// # Errors
/// The file system's own, with the path.
pub fn write(path: &Path, bytes: impl AsRef<[u8]>) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let attempt = || {
        fs::create_dir_all(folder)?;
        let mut file = tempfile::NamedTempFile::with_suffix_in(".tmp", folder)?;
        io::Write::write_all(&mut file, bytes.as_ref())?;
        file.persist(path)?;
        Ok(())
    };
    attempt().map_err(|error: io::Error| io::Error::new(error.kind(), format!("write {}: {error}", path.display())))
}

/// Writes `value` as indented JSON, as [`write()`] does.
///
/// # Errors
/// As [`write()`].
pub fn write_json(path: &Path, value: &impl Serialize) -> io::Result<()> {
    let mut text = serde_json::to_string_pretty(value)?;
    text.push('\n');
    write(path, text)
}
