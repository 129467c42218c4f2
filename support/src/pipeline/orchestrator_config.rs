//! The configuration file of an orchestrator (orchestrator.md §2).

use std::{collections::BTreeMap, path::Path};

use serde_json::{Value, json};

use super::builder_config::set;
use crate::sut::Command;

/// What an orchestrator is told.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct OrchestratorConfig {
    value: Value,
}

/// How a program is written as one list of words, for a place that has none for its variables:
/// `/usr/bin/env NAME=value … program …`.
pub fn self_contained(command: &Command) -> Vec<String> {
    let variables = command.env.iter().map(|(name, value)| format!("{name}={value}"));
    ["/usr/bin/env".to_owned()].into_iter().chain(variables).chain(command.argv.iter().cloned()).collect()
}

impl OrchestratorConfig {
    /// A configuration with which a run needs no human, with the servers of Build 1 by their
    /// section (`contract_engine`).
    pub fn unattended(servers: &BTreeMap<String, Command>) -> Self {
        let mut config = Self::default().with("architect.auto_approve", true);
        for (section, command) in servers {
            config = config.with_server(section, command);
        }
        config
    }

    /// Sets the MCP face of the server `section`; the address of its HTTP twin stays.
    #[must_use]
    pub fn with_server(self, section: &str, command: &Command) -> Self {
        self.with(&format!("build1.{section}.argv"), json!(command.argv))
            .with(&format!("build1.{section}.cwd"), json!(command.cwd))
            .with(&format!("build1.{section}.env"), json!(command.env))
    }

    /// Sets the builder, with its variables.
    #[must_use]
    pub fn with_builder(self, command: &Command) -> Self {
        self.with("builder.command", self_contained(command))
    }

    /// Sets the dotted key `section.name`.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        set(&mut self.value, key, value.into());
        self
    }

    /// What it says.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// Writes the file.
    ///
    /// # Errors
    /// The file system's own.
    pub fn write(&self, path: &Path) -> std::io::Result<()> {
        // Values made of JSON always have a form in YAML.
        crate::atomic::write(path, yaml_serde::to_string(&self.value).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pretty_assertions::assert_eq;

    fn command() -> Command {
        Command {
            key: "builder".into(),
            argv: vec!["agent".into(), "--quiet".into()],
            cwd: "/one".into(),
            env: BTreeMap::from([("A".into(), "1 2".into())]),
            ready: None,
        }
    }

    #[test]
    fn a_program_carries_its_variables() {
        assert_eq!(self_contained(&command()), ["/usr/bin/env", "A=1 2", "agent", "--quiet"]);
    }

    #[test]
    fn a_server_keeps_the_address_of_its_twin() {
        let config = OrchestratorConfig::default().with("build1.architect.url", "http://127.0.0.1:1");
        let config = config.with_server("architect", &command());
        let expected = json!({
            "url": "http://127.0.0.1:1", "argv": ["agent", "--quiet"], "cwd": "/one", "env": { "A": "1 2" },
        });
        assert_eq!(config.value()["build1"]["architect"], expected);
    }
}
