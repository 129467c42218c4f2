//! Where a state is kept: one file that is whole or not there, whoever is killed when.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use chrono::Utc;
use serde_json::Value;

use super::{Run4State, SCHEMA_VERSION};

/// The state file in the output folder (plan §7.4).
pub const FILE_NAME: &str = "RUN4_STATE.json";

/// What a save writes before it renames (plan §7.4); a leftover is ignored.
pub const TEMPORARY_NAME: &str = "RUN4_STATE.json.tmp";

/// What was found in the place of a state.
#[derive(Debug, Clone, PartialEq)]
pub enum Loaded {
    /// Nothing: the run starts afresh.
    Missing,
    /// A state to go on with.
    State(Box<Run4State>),
    /// A file that is no state. It was kept under another name, so that the next save does
    /// not overwrite it; the run starts afresh.
    SetAside {
        /// Where it is now.
        kept_at: PathBuf,
        /// What is wrong with it.
        reason: Unusable,
    },
}

impl Loaded {
    /// The state, if there is one (the plan's form of `load`).
    pub fn state(self) -> Option<Run4State> {
        match self {
            Self::State(state) => Some(*state),
            Self::Missing | Self::SetAside { .. } => None,
        }
    }
}

/// Why a file is no state (spec README §7).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// It is cut off or garbled.
    #[error("not JSON: {0}")]
    NotJson(String),
    /// It is JSON, but a list, text or number.
    #[error("not a JSON object")]
    NotAnObject,
    /// It was written by another version of the suite.
    #[error("schema_version is {found}, expected 1")]
    WrongVersion {
        /// What the file says, as JSON.
        found: String,
    },
    /// A field is missing or has the wrong type.
    #[error("not a state: {0}")]
    WrongShape(String),
}

/// A state could not be read or written.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum StateError {
    /// The file system refused.
    #[error("cannot {action} {}: {error}", path.display())]
    #[diagnostic(code(run4::state::io), help("check that the output folder is a writable folder with free space"))]
    Io {
        /// What was attempted.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// The state could not be read back from what a save would write, for example because a
    /// score is not a number. The file on disk is as it was.
    #[error("this state cannot be stored: {reason}")]
    #[diagnostic(code(run4::state::not_storable), help("store finite numbers and milestones 0 to 6 only"))]
    NotStorable {
        /// Which value, as the reader puts it.
        reason: String,
    },
}

impl Run4State {
    /// Reads the state in `directory`. A file that is no state is renamed to the first free
    /// `RUN4_STATE.json.unusable-<n>` beside it.
    ///
    /// # Errors
    /// When the file system refuses; a missing file or folder is not an error.
    pub fn load(directory: &Path) -> Result<Loaded, StateError> {
        // Judging and setting aside must not straddle another process's save.
        let _guard = match lock(directory) {
            Err(StateError::Io { error, .. }) if error.kind() == io::ErrorKind::NotFound => return Ok(Loaded::Missing),
            guard => guard?,
        };
        let path = directory.join(FILE_NAME);
        let bytes = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Loaded::Missing),
            bytes => bytes.map_err(failed("read", &path))?,
        };
        match parse(&bytes) {
            Ok(state) => Ok(Loaded::State(Box::new(state))),
            Err(reason) => Ok(Loaded::SetAside { kept_at: set_aside(&path)?, reason }),
        }
    }

    /// Saves the state in `directory`, making the folder when it is missing, and sets
    /// `updated_at`. Whoever reads meanwhile, and whatever is killed, the file holds either
    /// the old state or this one. Savers in other threads and processes wait their turn.
    ///
    /// # Errors
    /// When the file system refuses, or a value cannot be stored; the file is then as it was.
    pub fn save(&mut self, directory: &Path) -> Result<(), StateError> {
        fs::create_dir_all(directory).map_err(failed("make the folder", directory))?;
        let folder = lock(directory)?;
        self.updated_at = Some(Utc::now());
        let bytes = self.to_bytes()?;

        let temporary = directory.join(TEMPORARY_NAME);
        write_through(&temporary, &bytes).map_err(failed("write", &temporary))?;
        let path = directory.join(FILE_NAME);
        fs::rename(&temporary, &path).map_err(failed("replace", &path))?;
        // The rename itself survives a power cut only once the folder is on disk.
        folder.sync_all().map_err(failed("flush", directory))
    }

    fn to_bytes(&self) -> Result<Vec<u8>, StateError> {
        let refused = |reason: String| StateError::NotStorable { reason };
        let mut bytes = serde_json::to_vec_pretty(self).map_err(|error| refused(error.to_string()))?;
        bytes.push(b'\n');
        parse(&bytes).map_err(|reason| refused(reason.to_string()))?;
        Ok(bytes)
    }
}

fn parse(bytes: &[u8]) -> Result<Run4State, Unusable> {
    let value: Value = serde_json::from_slice(bytes).map_err(|error| Unusable::NotJson(error.to_string()))?;
    let fields = value.as_object().ok_or(Unusable::NotAnObject)?;
    let version = fields.get("schema_version").unwrap_or(&Value::Null);
    if version.as_u64() != Some(u64::from(SCHEMA_VERSION)) {
        return Err(Unusable::WrongVersion { found: version.to_string() });
    }
    // Read from the text once more: unlike a value, it lets the error name a line.
    serde_json::from_slice(bytes).map_err(|error| Unusable::WrongShape(error.to_string()))
}

/// Holds the folder for one process or thread until dropped; a killed holder lets go.
fn lock(directory: &Path) -> Result<File, StateError> {
    let folder = File::open(directory).map_err(failed("open", directory))?;
    folder.lock().map_err(failed("lock", directory))?;
    Ok(folder)
}

fn write_through(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Only while the folder is locked: nobody else takes the free name meanwhile.
fn set_aside(path: &Path) -> Result<PathBuf, StateError> {
    let mut number = 1_u32;
    loop {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".unusable-{number}"));
        let kept_at = PathBuf::from(name);
        if !kept_at.try_exists().map_err(failed("set aside", path))? {
            fs::rename(path, &kept_at).map_err(failed("set aside", path))?;
            return Ok(kept_at);
        }
        number += 1;
    }
}

fn failed<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> StateError + 'a {
    move |error| StateError::Io { action, path: path.to_path_buf(), error }
}
