//! What speaks against trusting a bundle.

use serde::Serialize;

/// A reason to distrust the bundle, or a part of it; each turns the report red.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, thiserror::Error)]
#[serde(tag = "problem", rename_all = "snake_case")]
pub enum Problem {
    /// A file differs from what was sealed.
    #[error("altered: {path}")]
    Altered {
        /// The file, below the bundle.
        path: String,
    },
    /// A sealed file is gone, or a run's results were never written.
    #[error("missing: {path}")]
    Missing {
        /// The file, below the bundle.
        path: String,
    },
    /// A file appeared after the bundle was sealed.
    #[error("not listed: {path}")]
    Unlisted {
        /// The file, below the bundle.
        path: String,
    },
    /// A file cannot be understood.
    #[error("unreadable: {path}: {reason}")]
    Unreadable {
        /// The file, below the bundle.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The results are of another run of the test runner, left over from before.
    #[error("stale: {path} is of run {found}, not {expected}")]
    Stale {
        /// The file, below the bundle.
        path: String,
        /// The run that the manifest names.
        expected: String,
        /// The run that the file names.
        found: String,
    },
    /// A setup script failed, so that the tests behind it did not run.
    #[error("setup script {name} failed: {reason}")]
    SetupFailed {
        /// The script.
        name: String,
        /// The runner's words.
        reason: String,
    },
    /// The required list is not the one the run promised to verify.
    #[error("the matrix changed since the run: {promised} then, {present} now")]
    MatrixChanged {
        /// The digest in the manifest.
        promised: String,
        /// The digest of the file now.
        present: String,
    },
    /// There are more defects than the catalogue has ids (D-127).
    #[error("the findings are cut off: the catalogue holds FINDING-999, the last id there is")]
    CatalogueFull,
    /// There is no result of any test.
    #[error("nothing ran: no result of any test is in the bundle")]
    NothingRan,
}
