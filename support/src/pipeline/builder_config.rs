//! config.yaml of a builder in the form the orchestrator gives it (builder.md §3), from the
//! canonical files in `fixtures/config/`.

use std::{collections::BTreeMap, path::Path};

use serde_json::{Map, Value, json};

use crate::{config::BuilderDepth, sut::Command, workspace};

/// The two servers of Build 1 that a configuration names, by section, and what a section calls
/// the variables of their commands.
const SERVERS: [(&str, &[(&str, &str)]); 2] = [
    ("contract_engine", &[("database", "DATABASE_PATH")]),
    ("codebase_intelligence", &[("database", "DATABASE_PATH"), ("chroma", "CHROMA_PATH"), ("graph", "GRAPH_PATH")]),
];

/// A builder's configuration.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BuilderConfig {
    value: Value,
}

/// A canonical configuration cannot be made; the text names the file.
#[derive(Debug, thiserror::Error)]
#[error("fixtures/config/{depth}.yaml: {reason}")]
pub struct ConfigFixtureError {
    depth: BuilderDepth,
    reason: String,
}

impl BuilderConfig {
    /// The canonical configuration of `depth`, with the commands of the servers by section
    /// (`contract_engine`). A section without a command is switched off.
    ///
    /// # Errors
    /// When the file is missing, is no YAML, or names an unknown `${…}`.
    pub fn canonical(depth: BuilderDepth, servers: &BTreeMap<String, Command>) -> Result<Self, ConfigFixtureError> {
        let failed = |reason: String| ConfigFixtureError { depth, reason };
        let path = workspace::fixture(format!("config/{depth}.yaml"));
        let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
        let mut value: Value = yaml_serde::from_str(&text).map_err(|error| failed(error.to_string()))?;
        let mut known = Map::new();
        for (section, variables) in SERVERS {
            let command = servers.get(section);
            if command.is_none() {
                value[section]["enabled"] = json!(false);
            }
            let word = |index: usize| command.and_then(|command| command.argv.get(index)).cloned().unwrap_or_default();
            let arguments = command.map(|command| command.argv[1..].to_vec()).unwrap_or_default();
            let root = command.map(|command| command.cwd.display().to_string()).unwrap_or_default();
            known.insert(format!("{section}_command"), json!(word(0)));
            known.insert(format!("{section}_args"), json!(arguments));
            known.insert(format!("{section}_root"), json!(root));
            for (name, variable) in variables {
                let path = command.and_then(|command| command.env.get(*variable)).cloned().unwrap_or_default();
                known.insert(format!("{section}_{name}"), json!(path));
            }
        }
        fill(&mut value, &known).map_err(failed)?;
        Ok(Self { value })
    }

    /// The configuration in `value`, as it is.
    pub fn from_value(value: Value) -> Self {
        Self { value }
    }

    /// Sets the key `section.name`.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        set(&mut self.value, key, value.into());
        self
    }

    /// What it says.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// The dotted keys it sets, with their values; a list is one value.
    pub fn leaves(&self) -> BTreeMap<String, Value> {
        let mut leaves = BTreeMap::new();
        collect(&self.value, String::new(), &mut leaves);
        leaves
    }

    /// The text of the file.
    pub fn yaml(&self) -> String {
        // Values made of JSON always have a form in YAML.
        yaml_serde::to_string(&self.value).unwrap_or_default()
    }

    /// Writes the file.
    ///
    /// # Errors
    /// The file system's own.
    pub fn write(&self, path: &Path) -> std::io::Result<()> {
        crate::atomic::write(path, self.yaml())
    }
}

/// Sets the dotted key `section.name` of a document; sections that are not there are made.
pub(super) fn set(document: &mut Value, key: &str, value: Value) {
    *key.split('.').fold(document, |place, part| &mut place[part]) = value;
}

/// Puts values in the place of texts that are `${name}` as a whole.
fn fill(value: &mut Value, known: &Map<String, Value>) -> Result<(), String> {
    match value {
        Value::String(text) => {
            if let Some(name) = text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')) {
                *value = known.get(name).cloned().ok_or_else(|| format!("it names {text}, which nobody knows"))?;
            }
            Ok(())
        }
        Value::Object(members) => members.values_mut().try_for_each(|member| fill(member, known)),
        Value::Array(elements) => elements.iter_mut().try_for_each(|element| fill(element, known)),
        _ => Ok(()),
    }
}

fn collect(value: &Value, key: String, leaves: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                let dotted = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
                collect(member, dotted, leaves);
            }
        }
        leaf => drop(leaves.insert(key, leaf.clone())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pretty_assertions::assert_eq;
    use rstest::rstest;

    const DEPTHS: [BuilderDepth; 4] =
        [BuilderDepth::Quick, BuilderDepth::Standard, BuilderDepth::Thorough, BuilderDepth::Exhaustive];

    fn servers() -> BTreeMap<String, Command> {
        let command = |key: &str, env: &[(&str, &str)]| Command {
            key: key.into(),
            argv: ["python", "-m", key].map(str::to_owned).to_vec(),
            cwd: "/one".into(),
            env: env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            ready: None,
        };
        let paths = [("DATABASE_PATH", "/d/s.db"), ("CHROMA_PATH", "/d/chroma"), ("GRAPH_PATH", "/d/graph.json")];
        BTreeMap::from([
            ("contract_engine".to_owned(), command("contracts", &[("DATABASE_PATH", "/d/c.db")])),
            ("codebase_intelligence".to_owned(), command("code", &paths)),
        ])
    }

    #[test]
    fn a_canonical_file_is_filled_with_the_servers() {
        let config = BuilderConfig::canonical(BuilderDepth::Thorough, &servers()).expect("complete");
        let expected = json!({
            "enabled": true, "mcp_command": "python", "mcp_args": ["-m", "code"], "server_root": "/one",
            "database_path": "/d/s.db", "chroma_path": "/d/chroma", "graph_path": "/d/graph.json",
            "replace_static_map": true, "register_artifacts": true,
            "startup_timeout_ms": 120_000, "tool_timeout_ms": 60_000,
        });
        assert_eq!(config.value()["codebase_intelligence"], expected);
        assert_eq!(config.value()["contract_engine"]["database_path"], "/d/c.db");
    }

    #[test]
    fn every_depth_sets_the_same_keys() {
        let keys = DEPTHS.map(|depth| {
            let config = BuilderConfig::canonical(depth, &servers()).expect("complete");
            assert_eq!(config.value()["depth"], json!({ "default": depth }));
            config.leaves().into_keys().collect::<Vec<_>>()
        });
        assert!(keys.iter().all(|depth| *depth == keys[0]), "{keys:?}");
        assert_eq!(keys[0].len(), 33);
    }

    #[test]
    fn a_server_that_is_not_there_is_switched_off() {
        let config = BuilderConfig::canonical(BuilderDepth::Thorough, &BTreeMap::new()).expect("complete");
        for section in ["contract_engine", "codebase_intelligence"] {
            assert_eq!(config.value()[section]["enabled"], json!(false), "{section}");
            assert_eq!(config.value()[section]["mcp_args"], json!([]), "{section}");
        }
    }

    #[rstest]
    #[case("agent_teams.enabled", json!(true))]
    #[case("metering.usd_per_unit", json!(0.25))]
    fn a_key_is_set_and_survives_the_file(#[case] key: &str, #[case] value: Value) {
        let config = BuilderConfig::canonical(BuilderDepth::Quick, &servers()).expect("complete");
        let config = config.with(key, value.clone());
        let read: Value = yaml_serde::from_str(&config.yaml()).expect("YAML");
        assert_eq!(read, *config.value());
        assert_eq!(config.leaves()[key], value);
    }

    #[test]
    fn an_unknown_placeholder_is_named() {
        let mut value = json!({ "a": [{ "b": "${nobody}" }] });
        assert_eq!(fill(&mut value, &Map::new()), Err("it names ${nobody}, which nobody knows".into()));
    }
}
