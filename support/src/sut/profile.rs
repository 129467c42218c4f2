//! Profiles: one TOML file that says how each program of a system is started.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use super::builds::{Build, BuildEntry, BuildTable};
use crate::{config::Run4Config, toolbox, workspace};

/// The manifest keys of spec README §4, and the commands that repair what no builder does (D-120).
const KEYS: [&str; 18] = [
    "architect_mcp",
    "contract_engine_mcp",
    "codebase_intelligence_mcp",
    "architect_http",
    "contract_engine_http",
    "codebase_intelligence_http",
    "builder",
    "orchestrator",
    "client_probe",
    "config_probe",
    "scan_probe",
    "backend_probe",
    "container_probe",
    "fix_build1",
    "fix_build2",
    "fix_build3",
    "fix_integration",
    "fix_infrastructure",
];

/// The name of a command in a profile: `architect_mcp`.
pub type Key = String;

/// A system under test as its file says it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// How reports call the system.
    pub name: String,
    /// One sentence on what it is.
    #[serde(default)]
    pub description: String,
    /// Commands run once before a run, in the workspace: builds of the system.
    #[serde(default)]
    pub prepare: Vec<Vec<String>>,
    /// The programs, by manifest key.
    #[serde(default)]
    pub commands: BTreeMap<Key, Entry>,
    /// What scores are measured on; optional.
    #[serde(default)]
    pub builds: BuildTable,
}

/// One program: data only, with `${…}` for what is known when it starts (see [`Place`]).
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// The folder to start in; relative to the project root of its Build.
    #[serde(default)]
    pub cwd: Option<PathBuf>,
    /// Variables on top of the short list every child gets.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// The URL that answers 200 when the program is ready.
    #[serde(default)]
    pub ready: Option<String>,
}

/// A profile cannot be used; the message names the file, the key and what is allowed.
#[derive(Debug, Clone, thiserror::Error, miette::Diagnostic)]
#[error("profile {path}: {reason}")]
#[diagnostic(code(run4::profile), help("see fixtures/sut/reference.toml for a complete profile"))]
pub struct ProfileError {
    path: String,
    reason: String,
}

/// What `${…}` stands for in a profile's entries at one start.
#[derive(Debug, Clone, Default)]
pub struct Place {
    values: BTreeMap<String, String>,
}

impl Place {
    /// The place of processes that keep their data in `data`: sets `${data}`, `${root}` (the
    /// workspace), `${programs}` (the folder of programs built from it), `${run4}` and
    /// `${toolbox}` (the folder of the Python programs).
    pub fn new(data: &Path) -> Self {
        let mut place = Self::default();
        place.set("data", data.display());
        place.set("root", workspace::root().display());
        place.set("programs", workspace::programs().display());
        place.set("run4", workspace::run4_program().display());
        place.set("toolbox", toolbox::path().display());
        // A server that is not up has an address where nobody listens.
        for key in KEYS.iter().filter(|key| key.ends_with("_http")) {
            place.set(&format!("{key}_url"), "http://127.0.0.1:9");
        }
        place
    }

    /// Sets what `${name}` stands for.
    pub fn set(&mut self, name: &str, value: impl std::fmt::Display) {
        self.values.insert(name.to_owned(), value.to_string());
    }

    fn fill(&self, text: &str) -> Result<String, String> {
        let mut filled = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            let (name, after) = after.split_once('}').ok_or_else(|| format!("{text:?} has a ${{ without }}"))?;
            let value = self.values.get(name).ok_or_else(|| {
                let known = self.values.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
                format!("{text:?} names ${{{name}}}, which is none of {known}")
            })?;
            filled.push_str(before);
            filled.push_str(value);
            rest = after;
        }
        Ok(filled + rest)
    }
}

/// A program ready to start: every `${…}` filled, every path absolute.
#[derive(Debug, Clone)]
pub struct Command {
    /// The manifest key it came from.
    pub key: Key,
    /// Program and arguments.
    pub argv: Vec<String>,
    /// The folder it starts in.
    pub cwd: PathBuf,
    /// Its variables on top of the short list.
    pub env: BTreeMap<String, String>,
    /// The URL that answers 200 when it is ready.
    pub ready: Option<String>,
}

/// A manifest together with the project roots of the three Builds.
#[derive(Debug, Clone)]
pub struct Profile {
    manifest: Manifest,
    path: PathBuf,
    roots: [PathBuf; 3],
}

impl Profile {
    /// The profile that the settings name.
    ///
    /// # Errors
    /// As [`Profile::read`].
    pub fn of(config: &Run4Config) -> Result<Self, ProfileError> {
        let roots = [&config.build1_project_root, &config.build2_project_root, &config.build3_project_root];
        Self::read(&config.sut_manifest, roots.map(Clone::clone))
    }

    /// Reads the profile at `path`; `roots` are the project roots of Build 1, 2 and 3.
    ///
    /// # Errors
    /// When the file is missing, breaks its shape, or has an unknown manifest key.
    pub fn read(path: &Path, roots: [PathBuf; 3]) -> Result<Self, ProfileError> {
        let failed = |reason: String| ProfileError { path: path.display().to_string(), reason };
        let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
        let manifest: Manifest = toml::from_str(&text).map_err(|error| failed(error.to_string()))?;
        for (key, entry) in &manifest.commands {
            if !KEYS.contains(&key.as_str()) {
                let nearest = KEYS.iter().min_by_key(|known| strsim::damerau_levenshtein(key, known));
                return Err(failed(format!("unknown command {key:?}; did you mean {}?", nearest.unwrap_or(&""))));
            }
            if entry.argv.is_empty() {
                return Err(failed(format!("commands.{key}.argv is empty; give the program and its arguments")));
            }
        }
        Ok(Self { manifest, path: path.to_path_buf(), roots })
    }

    /// What the file says.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Whether the profile has the command `key`.
    pub fn has(&self, key: &str) -> bool {
        self.manifest.commands.contains_key(key)
    }

    /// Whether the entry `key` names `${placeholder}`: what it stands for may be costly to make.
    pub fn names(&self, key: &str, placeholder: &str) -> bool {
        let written = format!("${{{placeholder}}}");
        self.manifest.commands.get(key).is_some_and(|entry| {
            let cwd = entry.cwd.as_ref().map(|cwd| cwd.to_string_lossy().into_owned());
            let texts = entry.argv.iter().chain(entry.env.values()).chain(&entry.ready).chain(&cwd);
            texts.into_iter().any(|text| text.contains(&written))
        })
    }

    /// The command `key` at `place`; `None` when the profile has none.
    ///
    /// # Errors
    /// When an entry names a `${…}` that is not known.
    pub fn command(&self, key: &str, place: &Place) -> Result<Option<Command>, ProfileError> {
        let Some(entry) = self.manifest.commands.get(key) else { return Ok(None) };
        let failed = |reason: String| ProfileError {
            path: self.path.display().to_string(),
            reason: format!("commands.{key}: {reason}"),
        };
        let fill = |text: &String| place.fill(text).map_err(failed);
        let cwd = entry.cwd.as_ref().map(|cwd| fill(&cwd.display().to_string())).transpose()?;
        Ok(Some(Command {
            key: key.to_owned(),
            argv: entry.argv.iter().map(fill).collect::<Result<_, _>>()?,
            cwd: self.root_of(key).join(cwd.unwrap_or_default()),
            env: entry.env.iter().map(|(name, value)| Ok((name.clone(), fill(value)?))).collect::<Result<_, _>>()?,
            ready: entry.ready.as_ref().map(fill).transpose()?,
        }))
    }

    /// What the profile says of a Build.
    pub fn build(&self, build: Build) -> &BuildEntry {
        self.manifest.builds.entry(build)
    }

    /// The project root of a Build.
    pub fn build_root(&self, build: Build) -> &Path {
        &self.roots[build.index()]
    }

    fn root_of(&self, key: &str) -> &Path {
        match key {
            "builder" | "client_probe" | "config_probe" | "scan_probe" | "backend_probe" | "fix_build2" => {
                &self.roots[1]
            }
            "orchestrator" | "container_probe" | "fix_build3" => &self.roots[2],
            _ => &self.roots[0],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pretty_assertions::assert_eq;
    use rstest::rstest;

    fn read(text: &str) -> Result<Profile, ProfileError> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("sut.toml");
        std::fs::write(&path, text).expect("writable");
        Profile::read(&path, ["/one".into(), "/two".into(), "/three".into()])
    }

    #[test]
    fn an_entry_is_filled_at_its_place() {
        let profile = read(
            r#"
            name = "mine"
            [commands.builder]
            argv = ["python", "-m", "agent_team"]
            cwd = "src"
            env = { DATABASE_PATH = "${data}/${name}.db" }
            "#,
        )
        .expect("a good profile");
        let mut place = Place::new(Path::new("/data"));
        place.set("name", "x");
        let command = profile.command("builder", &place).expect("fills").expect("there");
        assert_eq!(command.cwd, Path::new("/two/src"));
        assert_eq!(command.env["DATABASE_PATH"], "/data/x.db");
        assert!(profile.command("orchestrator", &place).expect("fills").is_none());
    }

    #[rstest]
    #[case::unknown_key("name = 'x'\n[commands.architect_mpc]\nargv = ['a']", "did you mean architect_mcp?")]
    #[case::unknown_field("name = 'x'\ncolour = 1", "unknown field `colour`")]
    #[case::unknown_fact("name = 'x'\n[builds.build1]\nsource = ['src']", "unknown field `source`")]
    #[case::unknown_build("name = 'x'\n[builds.build4]\nsources = ['src']", "unknown field `build4`")]
    #[case::unknown_artifact(
        "name = 'x'\n[builds.build1]\nartifacts = [{ service = 'a', kind = 'poem' }]",
        "unknown variant `poem`"
    )]
    #[case::empty_argv("name = 'x'\n[commands.builder]\nargv = []", "commands.builder.argv is empty")]
    fn a_bad_profile_is_refused_by_name(#[case] text: &str, #[case] part: &str) {
        let error = read(text).expect_err("a bad profile").to_string();
        assert!(error.contains(part), "{error}");
    }

    #[rstest]
    #[case::argument("argv = ['b', '--db=${database_url}']", true)]
    #[case::variable("argv = ['b']\nenv = { DB = '${database_url}' }", true)]
    #[case::folder("argv = ['b']\ncwd = '${database_url}'", true)]
    #[case::other("argv = ['b', 'database_url', '${data}']", false)]
    fn an_entry_tells_which_placeholders_it_names(#[case] entry: &str, #[case] named: bool) {
        let profile = read(&format!("name = 'x'\n[commands.builder]\n{entry}")).expect("a good profile");
        assert_eq!(profile.names("builder", "database_url"), named);
        assert!(!profile.names("orchestrator", "database_url"));
    }

    #[test]
    fn an_unknown_placeholder_is_named() {
        let profile = read("name = 'x'\n[commands.builder]\nargv = ['${dta}']").expect("a good profile");
        let error = profile.command("builder", &Place::new(Path::new("/d"))).expect_err("unknown").to_string();
        assert!(error.contains("${dta}") && error.contains("data"), "{error}");
    }
}
