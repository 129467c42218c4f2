//! Why the settings of a run were refused.

use std::{fmt, path::PathBuf};

/// Where a setting came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The values built into the suite.
    Defaults,
    /// The configuration file.
    File(PathBuf),
    /// A variable of the environment.
    Environment,
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Defaults => formatter.write_str("the defaults"),
            Self::File(path) => write!(formatter, "{}", path.display()),
            Self::Environment => formatter.write_str("the environment"),
        }
    }
}

/// Why the settings of a run were refused (spec README §7). Keys are spelled as their origin
/// spells them: `builder_depth` in a file, `RUN4_BUILDER_DEPTH` in the environment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, miette::Diagnostic)]
pub enum ConfigError {
    /// A key that is none of the settings.
    #[error("unknown key `{key}` in {origin}, the nearest known key is `{nearest}`")]
    #[diagnostic(code(run4::config::unknown_key), help("correct the key, or remove it"))]
    UnknownKey {
        /// The key as given.
        key: String,
        /// Who gave it.
        origin: Origin,
        /// The known key whose spelling is nearest.
        nearest: String,
    },

    /// A value of the wrong type or outside its range.
    #[error("`{key}` is {found} in {origin}, allowed is {allowed}")]
    #[diagnostic(code(run4::config::invalid_value), help("change it there, or remove it to use the default"))]
    InvalidValue {
        /// The setting.
        key: String,
        /// Who gave the value.
        origin: Origin,
        /// The value, as TOML.
        found: String,
        /// What the setting takes.
        allowed: &'static str,
    },

    /// A project root, PRD or manifest that is not there.
    #[error("`{key}` names {path}, which is not {expected} (set by {origin})")]
    #[diagnostic(code(run4::config::missing_path), help("create {path}, or point `{key}` at {expected}"))]
    MissingPath {
        /// The setting.
        key: String,
        /// The absolute path that was looked at.
        path: String,
        /// What must be there.
        expected: &'static str,
        /// Who gave the path.
        origin: Origin,
    },

    /// The configuration file is there but cannot be read as TOML.
    #[error("cannot read {}: {reason}", path.display())]
    #[diagnostic(code(run4::config::unreadable), help("correct the file, or remove it to use the defaults"))]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the reader says.
        reason: String,
    },
}
