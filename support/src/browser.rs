//! A browser without a window, for the pages that people read: Chromium, where it is on PATH.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::process::Command;

use crate::verdict::Failure;

/// The programs that are taken, the first on PATH.
const PROGRAMS: [&str; 3] = ["chromium", "chromium-headless-shell", "google-chrome"];

/// How the tests begin that need a browser; where there is none they are listed as ignored.
const TESTS: &str = "r4_m6_004_html_";

/// How long a page may take, and how far its own clock runs meanwhile.
const LIMIT: Duration = Duration::from_secs(60);
const PAGE_CLOCK: &str = "--virtual-time-budget=10000";

/// What the report calls it where there is none.
pub const MISSING: &str = "chromium";

/// Whether a test needs a browser, by its function.
pub fn is_needed_by(test: &str) -> bool {
    test.starts_with(TESTS)
}

/// The browser of this machine.
pub fn program() -> Option<PathBuf> {
    let folders: Vec<_> =
        std::env::var_os("PATH").map(|path| std::env::split_paths(&path).collect()).unwrap_or_default();
    let places = PROGRAMS.iter().flat_map(|name| folders.iter().map(move |folder: &PathBuf| folder.join(name)));
    places.into_iter().find(|place| place.is_file())
}

/// A page after its scripts have run.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "look at the document and at what the console says"]
pub struct Opened {
    /// The document as HTML.
    pub document: String,
    /// What the console of the page says, line by line.
    pub console: Vec<String>,
}

/// Opens the file `page` and lets its scripts run.
///
/// # Errors
/// UNTESTABLE where there is no browser, BROKEN when it does not open the page.
pub async fn open(page: &Path) -> Result<Opened, Failure> {
    let program = program().ok_or_else(|| Failure::untestable(MISSING))?;
    let profile = tempfile::tempdir()?;
    let child = Command::new(program)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"])
        .args(["--enable-logging=stderr", "--dump-dom", PAGE_CLOCK])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(page)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(LIMIT, child)
        .await
        .map_err(|_| Failure::broken(format!("the browser did not show {} in {LIMIT:?}", page.display())))??;
    let said = String::from_utf8_lossy(&output.stderr);
    let document = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() || !document.contains("</html>") {
        let last = said.lines().last().unwrap_or("nothing").to_owned();
        return Err(Failure::broken(format!("the browser ended with {} and said {last}", output.status)));
    }
    let console = said.lines().filter(|line| line.contains(":CONSOLE")).map(str::to_owned).collect();
    Ok(Opened { document, console })
}
