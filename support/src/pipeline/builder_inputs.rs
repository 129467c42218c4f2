//! What a builder is given: the folder of one service before the run (builder.md §2).

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::builder_config::BuilderConfig;
use crate::atomic;

/// Where instructions for a fix pass lie, below the folder of a service.
pub const INSTRUCTIONS_FILE: &str = "FIX_INSTRUCTIONS.md";

/// What the builder of one service is told of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceInputs {
    /// The name of the service.
    pub name: String,
    /// Its ServiceDefinition with `entities`: the DomainEntities it owns.
    pub definition: Value,
    /// The contracts it provides or consumes, by name: ContractStubs or ContractEntries.
    pub contracts: BTreeMap<String, Value>,
    /// The whole PRD.
    pub prd: String,
}

/// A decomposition lacks what a builder must be told.
#[derive(Debug, thiserror::Error)]
#[error("the decomposition has no {0}")]
pub struct MissingInput(&'static str);

impl ServiceInputs {
    /// The inputs of each service in the reply of `decompose` for `prd` (tools.md §4).
    ///
    /// # Errors
    /// When the reply lacks services, entities, contracts, or a name of one.
    pub fn from_decomposition(prd: &str, reply: &Value) -> Result<Vec<Self>, MissingInput> {
        let list = |pointer: &str, what| reply.pointer(pointer).and_then(Value::as_array).ok_or(MissingInput(what));
        let services = list("/service_map/services", "service_map.services")?;
        let entities = list("/domain_model/entities", "domain_model.entities")?;
        let stubs = list("/contract_stubs", "contract_stubs")?;
        services
            .iter()
            .map(|service| {
                let name = service["name"].as_str().ok_or(MissingInput("name of a service"))?;
                let owned: Vec<_> = entities.iter().filter(|entity| entity["owning_service"] == name).collect();
                let mut definition = service.clone();
                definition["entities"] = json!(owned);
                let contracts = stubs
                    .iter()
                    .filter(|stub| concerns(service, stub))
                    .map(|stub| Some((stub["name"].as_str()?.to_owned(), stub.clone())))
                    .collect::<Option<_>>()
                    .ok_or(MissingInput("name of a contract stub"))?;
                Ok(Self { name: name.to_owned(), definition, contracts, prd: prd.to_owned() })
            })
            .collect()
    }
}

/// Whether a service provides or consumes the contract of a stub.
fn concerns(service: &Value, stub: &Value) -> bool {
    let named = |key: &str| service[key].as_array().is_some_and(|names| names.contains(&stub["name"]));
    stub["service_name"] == service["name"] || named("provides_contracts") || named("consumes_contracts")
}

/// The folder of one service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuilderWorkspace {
    folder: PathBuf,
}

impl BuilderWorkspace {
    /// Writes the inputs of a service into `folder`. What a builder left there stays; contracts
    /// and instructions of an earlier pass do not, since they would steer this run.
    ///
    /// # Errors
    /// The file system's own.
    pub fn write(folder: &Path, inputs: &ServiceInputs, config: &BuilderConfig) -> io::Result<Self> {
        let workspace = Self { folder: folder.to_path_buf() };
        let contracts = folder.join("contracts");
        if contracts.exists() {
            std::fs::remove_dir_all(contracts)?;
        }
        match std::fs::remove_file(folder.join(INSTRUCTIONS_FILE)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => (),
        }
        workspace.put("config.yaml", config.yaml())?;
        workspace.put("prd.md", format!("Target service: {}\n\n{}", inputs.name, inputs.prd))?;
        workspace.put("service.json", serde_json::to_string_pretty(&inputs.definition)?)?;
        for (name, contract) in &inputs.contracts {
            workspace.put(&format!("contracts/{name}.json"), serde_json::to_string_pretty(contract)?)?;
        }
        Ok(workspace)
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Writes a file below the folder.
    ///
    /// # Errors
    /// The file system's own.
    pub fn put(&self, path: &str, text: impl AsRef<[u8]>) -> io::Result<()> {
        atomic::write(&self.folder.join(path), text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pretty_assertions::assert_eq;

    fn reply() -> Value {
        json!({
            "service_map": { "services": [
                { "name": "orders", "provides_contracts": ["orders-api"], "consumes_contracts": ["users-api"] },
                { "name": "users", "provides_contracts": ["users-api"], "consumes_contracts": [] },
            ] },
            "domain_model": { "entities": [
                { "name": "Order", "owning_service": "orders", "state_machine": { "states": ["a", "b"] } },
                { "name": "User", "owning_service": "users" },
            ] },
            "contract_stubs": [
                { "name": "orders-api", "service_name": "orders", "spec": { "openapi": "3.1.0" } },
                { "name": "users-api", "service_name": "users", "spec": {} },
                { "name": "users-events", "service_name": "users", "spec": {} },
            ],
        })
    }

    #[test]
    fn each_service_gets_its_entities_and_contracts() {
        let inputs = ServiceInputs::from_decomposition("the PRD", &reply()).expect("complete");
        let names: Vec<_> = inputs.iter().map(|one| one.contracts.keys().cloned().collect::<Vec<_>>()).collect();
        assert_eq!(names, [vec!["orders-api", "users-api"], vec!["users-api", "users-events"]]);
        assert_eq!(inputs[0].definition["entities"][0]["state_machine"]["states"][1], "b");
        assert_eq!(inputs[0].definition["entities"].as_array().map(Vec::len), Some(1));
    }

    #[test]
    fn what_a_reply_lacks_is_named() {
        let mut lacking = reply();
        lacking["contract_stubs"][1] = json!({ "service_name": "users" });
        let error = ServiceInputs::from_decomposition("", &lacking).expect_err("no name").to_string();
        assert_eq!(error, "the decomposition has no name of a contract stub");
        let error = ServiceInputs::from_decomposition("", &json!({})).expect_err("nothing").to_string();
        assert_eq!(error, "the decomposition has no service_map.services");
    }

    #[test]
    fn a_folder_is_written_anew_but_keeps_what_was_built() {
        let folder = tempfile::tempdir().expect("a folder");
        for path in ["src/main.py", ".agent-team/STATE.json", "contracts/old.json", INSTRUCTIONS_FILE] {
            atomic::write(&folder.path().join(path), "old").expect("written");
        }
        let inputs = &ServiceInputs::from_decomposition("# PRD", &reply()).expect("complete")[0];
        let workspace = BuilderWorkspace::write(folder.path(), inputs, &BuilderConfig::default()).expect("written");
        let found = crate::tree::digests(workspace.folder(), &[]).expect("readable");
        let found: Vec<_> = found.keys().map(|path| path.to_string_lossy().into_owned()).collect();
        assert_eq!(
            found,
            [
                ".agent-team/STATE.json",
                "config.yaml",
                "contracts/orders-api.json",
                "contracts/users-api.json",
                "prd.md",
                "service.json",
                "src/main.py"
            ]
        );
        let prd = std::fs::read_to_string(folder.path().join("prd.md")).expect("readable");
        assert_eq!(prd.lines().next(), Some("Target service: orders"));
    }
}
