//! The manifest of a bundle: what was run, on what, and the hash of every file that a verdict
//! rests on (DESIGN "Report").

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    fs, io,
    path::{Component, Path},
};

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AuditError, problem::Problem};
use crate::{
    atomic,
    config::Substrate,
    fix_pass::ledger,
    matrix::{Matrix, digest},
};

/// The name of the manifest in a bundle.
const FILE_NAME: &str = "manifest.json";

/// The name of the test runner's listing in a bundle.
pub(super) const LISTING: &str = "listing.json";

const SCHEMA_VERSION: u32 = 1;

/// What a bundle holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The version of this shape.
    schema_version: u32,
    /// The session that all of it belongs to.
    pub session: String,
    /// The sessions of the other bundles that were merged into this one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub merged: Vec<String>,
    /// Who ran it.
    pub kind: RunKind,
    /// When the session began.
    pub started_at: DateTime<Utc>,
    /// When it ended; none while it runs and when it was cut short.
    pub finished_at: Option<DateTime<Utc>>,
    /// The system under test.
    pub system: SystemInfo,
    /// Where services ran.
    pub substrate: Substrate,
    /// The digest of the required list that the run promised to verify.
    pub matrix_digest: String,
    /// The revision of the suite, where it is known.
    pub revision: Option<String>,
    /// Versions of what the run used, by name.
    pub versions: BTreeMap<String, String>,
    /// The runs of the test runner, in order.
    pub runs: Vec<Run>,
    /// The SHA-256 of each file that a verdict rests on, in hex, by its path below the bundle.
    pub evidence: BTreeMap<String, String>,
}

/// Who ran the tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RunKind {
    /// `cargo run4`: the whole list.
    Full,
    /// A developer, by the test runner itself.
    Local,
}

/// The system under test as its profile describes it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SystemInfo {
    /// How reports call it.
    pub name: String,
    /// One sentence on what it is.
    pub description: String,
    /// The manifest keys that its profile has.
    #[serde(default)]
    pub keys: BTreeSet<String>,
}

/// One run of the test runner.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Run {
    /// The milestone it verified, 1 to 6; none for a selection of its own.
    pub milestone: Option<u8>,
    /// The runner's id of the run, which its results must carry.
    pub run_id: String,
    /// The results, by their path below the bundle.
    pub junit: String,
    /// How the runner ended; none when it was killed.
    pub exit_code: Option<i32>,
    /// How long it took, in seconds.
    pub seconds: f64,
}

impl Manifest {
    /// The manifest of a session that begins now, promising the matrix of this suite.
    ///
    /// # Errors
    /// When the matrix cannot be read.
    pub fn begin(session: &str, kind: RunKind, system: &SystemInfo, substrate: Substrate) -> Result<Self, AuditError> {
        let matrix = Matrix::load().map_err(AuditError::promise)?;
        Ok(Self::promising(matrix.digest(), session, kind, system.clone(), substrate))
    }

    pub(super) fn promising(
        matrix_digest: &str,
        session: &str,
        kind: RunKind,
        system: SystemInfo,
        substrate: Substrate,
    ) -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            session: session.to_owned(),
            merged: Vec::new(),
            kind,
            started_at: Utc::now(),
            finished_at: None,
            system,
            substrate,
            matrix_digest: matrix_digest.to_owned(),
            revision: None,
            versions: BTreeMap::new(),
            runs: Vec::new(),
            evidence: BTreeMap::new(),
        }
    }

    /// Reads the manifest of `bundle`.
    ///
    /// # Errors
    /// When there is none, or it is of another version or shape; the text says what to do.
    pub fn load(bundle: &Path) -> Result<Self, AuditError> {
        let path = bundle.join(FILE_NAME);
        let unreadable = |reason: String| AuditError::UnreadableManifest { path: path.display().to_string(), reason };
        let text = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(AuditError::NoManifest { bundle: bundle.display().to_string() });
            }
            other => other.map_err(|error| unreadable(error.to_string()))?,
        };
        let manifest: Self = serde_json::from_slice(&text).map_err(|error| unreadable(error.to_string()))?;
        if manifest.schema_version != SCHEMA_VERSION {
            let found = manifest.schema_version;
            return Err(unreadable(format!("its schema_version is {found}, this suite writes {SCHEMA_VERSION}")));
        }
        let named = manifest.runs.iter().map(|run| &run.junit).chain(manifest.evidence.keys());
        if let Some(outside) = named.into_iter().find(|path| !stays_inside(path)) {
            return Err(unreadable(format!("{outside} does not lie below the bundle")));
        }
        Ok(manifest)
    }

    /// Writes the manifest to `bundle`, whole or not at all.
    ///
    /// # Errors
    /// The file system's own.
    pub fn save(&self, bundle: &Path) -> io::Result<()> {
        atomic::write_json(&bundle.join(FILE_NAME), self)
    }

    /// Every session whose records belong to the bundle.
    pub(super) fn sessions(&self) -> BTreeSet<&str> {
        self.merged.iter().map(String::as_str).chain([self.session.as_str()]).collect()
    }

    /// Notes a run of the test runner; it takes the place of an earlier one with the same file.
    pub fn add_run(&mut self, run: Run) {
        self.runs.retain(|known| known.junit != run.junit);
        self.runs.push(run);
    }

    /// Notes that the session ends now, and seals the bundle.
    ///
    /// # Errors
    /// As [`Manifest::seal`].
    pub fn finish(&mut self, bundle: &Path) -> io::Result<()> {
        self.finished_at = Some(Utc::now());
        self.seal(bundle)
    }

    /// Hashes every record, every result, the listing and the fix passes that are not sealed yet, and
    /// writes the manifest. What was sealed before keeps its hash, so that a change is seen.
    ///
    /// # Errors
    /// The file system's own.
    pub fn seal(&mut self, bundle: &Path) -> io::Result<()> {
        for path in self.present_files(bundle)? {
            if let Entry::Vacant(unsealed) = self.evidence.entry(path) {
                let hash = digest(&fs::read(bundle.join(unsealed.key()))?);
                unsealed.insert(hash);
            }
        }
        self.save(bundle)
    }

    /// Refuses a sealed file that is not as it was sealed; one that is not sealed is in the works.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self, bundle: &Path, path: &str) -> Result<(), Problem> {
        if self.evidence.contains_key(path) { self.read(bundle, path).map(drop) } else { Ok(()) }
    }

    /// Takes the seal off the files for which `is_rewritten` holds: they are about to be written anew.
    /// What else was sealed stays so.
    pub fn unseal(&mut self, is_rewritten: impl Fn(&str) -> bool) {
        self.evidence.retain(|path, _| !is_rewritten(path));
    }

    /// The files a verdict can rest on that are there.
    fn present_files(&self, bundle: &Path) -> io::Result<BTreeSet<String>> {
        let mut files = BTreeSet::new();
        collect(bundle, "evidence", "json", &mut files)?;
        collect(bundle, "junit", "xml", &mut files)?;
        collect(bundle, ledger::SNAPSHOTS, "json", &mut files)?;
        let named = self.runs.iter().map(|run| run.junit.as_str()).chain([LISTING, ledger::FILE_NAME]);
        files.extend(named.filter(|path| bundle.join(path).is_file()).map(str::to_owned));
        Ok(files)
    }

    /// The files that were sealed or are there, whichever is more.
    pub(super) fn known_files(&self, bundle: &Path) -> io::Result<BTreeSet<String>> {
        let mut files = self.present_files(bundle)?;
        files.extend(self.evidence.keys().cloned());
        Ok(files)
    }

    /// The bytes of a sealed file, exactly as they were sealed.
    pub(super) fn read(&self, bundle: &Path, path: &str) -> Result<Vec<u8>, Problem> {
        let owned = || path.to_owned();
        let bytes = fs::read(bundle.join(path)).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Problem::Missing { path: owned() },
            _ => Problem::Unreadable { path: owned(), reason: error.to_string() },
        })?;
        match self.evidence.get(path) {
            None => Err(Problem::Unlisted { path: owned() }),
            Some(sealed) if *sealed != digest(&bytes) => Err(Problem::Altered { path: owned() }),
            Some(_) => Ok(bytes),
        }
    }
}

/// The digest of the manifest of `bundle`. Nothing in a bundle protects its manifest, so that only
/// this, kept elsewhere, tells whether someone wrote it anew.
pub(super) fn seal(bundle: &Path) -> io::Result<String> {
    Ok(digest(&fs::read(bundle.join(FILE_NAME))?))
}

fn stays_inside(path: &str) -> bool {
    Path::new(path).components().all(|component| matches!(component, Component::Normal(_)))
}

/// Adds the files below `folder` of `bundle` whose name ends in `extension`.
fn collect(bundle: &Path, folder: &str, extension: &str, files: &mut BTreeSet<String>) -> io::Result<()> {
    let entries = match fs::read_dir(bundle.join(folder)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    for entry in entries {
        let entry = entry?;
        let path = format!("{folder}/{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            collect(bundle, &path, extension, files)?;
        } else if Path::new(&path).extension().is_some_and(|found| found == extension) {
            files.insert(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use pretty_assertions::assert_eq;
    use rstest::{fixture, rstest};
    use tempfile::TempDir;

    const RECORD: &str = "evidence/m2_mcp_wiring/b1_09.json";

    #[fixture]
    fn sealed() -> (TempDir, Manifest) {
        let bundle = TempDir::new().expect("a folder");
        let mut manifest =
            Manifest::promising("digest", "s1", RunKind::Full, SystemInfo::default(), Substrate::Process);
        atomic::write(&bundle.path().join(RECORD), "{}").expect("written");
        atomic::write(&bundle.path().join("junit/m2.xml"), "<x/>").expect("written");
        atomic::write(&bundle.path().join("logs/server.log"), "noise").expect("written");
        manifest.seal(bundle.path()).expect("sealed");
        (bundle, manifest)
    }

    #[rstest]
    fn a_manifest_survives_a_save(sealed: (TempDir, Manifest)) {
        assert_eq!(Manifest::load(sealed.0.path()).expect("readable"), sealed.1);
        assert_eq!(sealed.1.evidence.keys().collect::<Vec<_>>(), [RECORD, "junit/m2.xml"]);
    }

    #[rstest]
    #[case::untouched(|_: &Path| (), None)]
    #[case::altered(|path: &Path| fs::write(path, "{ }").expect("written"), Some("altered: "))]
    #[case::missing(|path: &Path| fs::remove_file(path).expect("removed"), Some("missing: "))]
    fn a_changed_file_is_named(sealed: (TempDir, Manifest), #[case] change: fn(&Path), #[case] problem: Option<&str>) {
        let (bundle, manifest) = sealed;
        change(&bundle.path().join(RECORD));
        let found = manifest.read(bundle.path(), RECORD).err().map(|problem| problem.to_string());
        assert_eq!(found, problem.map(|kind| format!("{kind}{RECORD}")));
    }

    #[rstest]
    #[case::kept(false, Some("altered: "))]
    #[case::taken_off(true, None)]
    fn a_second_seal_hides_no_change(
        sealed: (TempDir, Manifest),
        #[case] unsealed: bool,
        #[case] problem: Option<&str>,
    ) {
        let (bundle, mut manifest) = sealed;
        fs::write(bundle.path().join(RECORD), "{ }").expect("written");
        assert!(manifest.check(bundle.path(), RECORD).is_err(), "it was sealed otherwise");
        manifest.unseal(|path| unsealed && path == RECORD);
        manifest.seal(bundle.path()).expect("sealed");
        let found = manifest.read(bundle.path(), RECORD).err().map(|problem| problem.to_string());
        assert_eq!(found, problem.map(|kind| format!("{kind}{RECORD}")));
    }

    #[rstest]
    fn a_new_file_is_not_listed(sealed: (TempDir, Manifest)) {
        let (bundle, manifest) = sealed;
        let late = "evidence/m2_mcp_wiring/late.json";
        atomic::write(&bundle.path().join(late), "{}").expect("written");
        assert!(manifest.known_files(bundle.path()).expect("listed").contains(late));
        let problem = manifest.read(bundle.path(), late).expect_err("not sealed");
        assert_eq!(problem, Problem::Unlisted { path: late.into() });
    }

    #[test]
    fn a_folder_without_a_run_says_what_to_do() {
        let bundle = TempDir::new().expect("a folder");
        let error = Manifest::load(bundle.path()).expect_err("empty").to_string();
        assert!(error.contains("cargo run4"), "{error}");
    }

    #[rstest]
    fn a_manifest_that_points_outside_is_refused(sealed: (TempDir, Manifest)) {
        let (bundle, mut manifest) = sealed;
        manifest.evidence.insert("../elsewhere.json".into(), String::new());
        manifest.save(bundle.path()).expect("saved");
        let error = Manifest::load(bundle.path()).expect_err("outside").to_string();
        assert!(error.contains("../elsewhere.json"), "{error}");
    }

    #[rstest]
    fn another_version_is_refused(sealed: (TempDir, Manifest)) {
        let (bundle, mut manifest) = sealed;
        manifest.schema_version = 2;
        manifest.save(bundle.path()).expect("saved");
        let error = Manifest::load(bundle.path()).expect_err("version").to_string();
        assert!(error.contains("schema_version is 2"), "{error}");
    }
}
