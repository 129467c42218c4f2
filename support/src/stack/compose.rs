//! Compose files and their merge, as `docker compose` does it (spec topology.md §1): what a
//! model of several files says can be looked at without Docker.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use serde_json::{Map, Value};

/// The files of a project in the order of their merge, the generated one left out (topology.md §1).
pub const STATIC_FILES: [&str; 4] =
    ["docker-compose.infra.yml", "docker-compose.build1.yml", "docker-compose.traefik.yml", "docker-compose.run4.yml"];

/// What takes the place of the last of them in tests.
pub const TEST_OVERLAY: &str = "docker-compose.test.yml";

/// The place of the generated file among [`STATIC_FILES`].
pub const GENERATED_POSITION: usize = 2;

/// Lists that a later file replaces as a whole.
const REPLACED: [&str; 3] = ["command", "entrypoint", "test"];

/// Members that are a mapping, and may be written as a list.
const KEYED: [&str; 5] = ["environment", "labels", "networks", "depends_on", "extra_hosts"];

/// A compose file cannot be read; the text says why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}: {reason}")]
pub struct ComposeError {
    file: String,
    reason: String,
}

/// A compose model: one file, or several merged.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Compose {
    model: Value,
}

impl Compose {
    /// Reads and merges `files`, the first one first.
    ///
    /// # Errors
    /// When one cannot be read or is no YAML mapping; the text names it.
    pub fn read(files: &[impl AsRef<Path>]) -> Result<Self, ComposeError> {
        let mut merged = Self::default();
        for file in files {
            let file = file.as_ref();
            let name = file.display().to_string();
            let text = std::fs::read_to_string(file)
                .map_err(|error| ComposeError { file: name.clone(), reason: error.to_string() })?;
            merged = merged.with(&name, &text)?;
        }
        Ok(merged)
    }

    /// This model with the file `name` of the content `text` merged into it.
    ///
    /// # Errors
    /// When the text is no YAML mapping.
    pub fn with(&self, name: &str, text: &str) -> Result<Self, ComposeError> {
        let failed = |reason: String| ComposeError { file: name.to_owned(), reason };
        let mut yaml: yaml_serde::Value = yaml_serde::from_str(text).map_err(|error| failed(error.to_string()))?;
        yaml.apply_merge().map_err(|error| failed(error.to_string()))?;
        let later = Node::of(yaml).map_err(failed)?;
        if !matches!(later.content, Content::Mapping(_)) {
            return Err(failed("it is no mapping".into()));
        }
        Ok(Self { model: merge(&[], self.model.clone(), later) })
    }

    /// The merged model.
    pub fn model(&self) -> &Value {
        &self.model
    }

    /// The names of the services.
    pub fn services(&self) -> BTreeSet<&str> {
        keys(&self.model["services"])
    }

    /// One service; null when there is none.
    pub fn service(&self, name: &str) -> &Value {
        &self.model["services"][name]
    }

    /// Who is on each network: its key in the files, and the services on it.
    pub fn members(&self) -> BTreeMap<&str, BTreeSet<&str>> {
        let mut members: BTreeMap<_, _> =
            keys(&self.model["networks"]).into_iter().map(|network| (network, BTreeSet::new())).collect();
        for service in self.services() {
            let on = match &self.service(service)["networks"] {
                Value::Null => BTreeSet::from(["default"]),
                networks => keys(networks),
            };
            for network in on {
                members.entry(network).or_default().insert(service);
            }
        }
        members
    }

    /// What `docker compose config` would refuse, and nothing else: services without image or
    /// build, and what is named and defined nowhere. Empty for a sound model.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let services = self.services();
        if services.is_empty() {
            problems.push("there are no services".to_owned());
        }
        for name in &services {
            let service = self.service(name);
            if service["image"].is_null() && service["build"].is_null() {
                problems.push(format!("{name} has neither image nor build: no file defines it"));
            }
            for other in keys(&service["depends_on"]).difference(&services) {
                problems.push(format!("{name} depends on {other}, which is no service"));
            }
            for network in keys(&service["networks"]).difference(&keys(&self.model["networks"])) {
                problems.push(format!("{name} is on the network {network}, which is not defined"));
            }
            for volume in named_volumes(service).difference(&keys(&self.model["volumes"])) {
                problems.push(format!("{name} has the volume {volume}, which is not defined"));
            }
        }
        problems
    }

    /// Secrets written into a service's environment: names that tell of one, with a value that is
    /// no `${…}` alone.
    pub fn literal_secrets(&self) -> Vec<String> {
        const WORDS: [&str; 4] = ["PASSWORD", "SECRET", "TOKEN", "API_KEY"];
        let mut found = Vec::new();
        for name in self.services() {
            let environment = self.service(name)["environment"].as_object();
            for (variable, value) in environment.into_iter().flatten() {
                let value = value.as_str().unwrap_or_default();
                let tells = WORDS.iter().any(|word| variable.to_uppercase().contains(word));
                let is_variable = value.starts_with("${") && value.ends_with('}');
                let in_address = value.split_once("://").is_some_and(|(_, rest)| has_literal_password(rest));
                if (tells && !is_variable) || in_address {
                    found.push(format!("{name}: {variable}"));
                }
            }
        }
        found
    }
}

/// Whether the rest of an address, `user:password@host`, has a password that is no `${…}`.
fn has_literal_password(rest: &str) -> bool {
    let credentials = rest.rsplit_once('@').map(|(credentials, _)| credentials).unwrap_or_default();
    // Variables have colons of their own.
    let mut depth = 0;
    let colon = credentials.char_indices().find(|(_, letter)| {
        depth += match letter {
            '{' => 1,
            '}' => -1,
            _ => 0,
        };
        *letter == ':' && depth == 0
    });
    colon.is_some_and(|(place, _)| !credentials[place + 1..].starts_with("${"))
}

/// The volumes of a service that have a name: neither a folder of the host nor anonymous.
fn named_volumes(service: &Value) -> BTreeSet<&str> {
    let volumes = service["volumes"].as_array().into_iter().flatten();
    let sources = volumes.filter_map(|volume| match volume {
        Value::String(text) => text.split_once(':').map(|(source, _)| source),
        long if long["type"] == "volume" => long["source"].as_str(),
        _ => None,
    });
    sources.filter(|source| !source.starts_with(['.', '/', '~', '$'])).collect()
}

fn keys(mapping: &Value) -> BTreeSet<&str> {
    mapping.as_object().into_iter().flatten().map(|(key, _)| key.as_str()).collect()
}

/// What a tag says about the merge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tag {
    Merge,
    Override,
    Reset,
}

/// A value of a file that is to be merged.
#[derive(Debug)]
struct Node {
    tag: Tag,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Mapping(Vec<(String, Node)>),
    /// Lists and scalars: no merge goes into them.
    Plain(Value),
}

impl Node {
    fn of(yaml: yaml_serde::Value) -> Result<Self, String> {
        let content = match yaml {
            yaml_serde::Value::Tagged(tagged) => {
                let name = tagged.tag.to_string();
                let tag = match name.trim_start_matches('!') {
                    "override" => Tag::Override,
                    "reset" => Tag::Reset,
                    _ => return Err(format!("the tag {name} is neither !override nor !reset")),
                };
                return Ok(Self { tag, ..Self::of(tagged.value)? });
            }
            yaml_serde::Value::Mapping(members) => {
                let member = |(key, value): (yaml_serde::Value, _)| match key {
                    yaml_serde::Value::String(key) => Ok((key, Self::of(value)?)),
                    other => Err(format!("the key {other:?} is no text")),
                };
                Content::Mapping(members.into_iter().map(member).collect::<Result<_, String>>()?)
            }
            plain => Content::Plain(yaml_serde::from_value(plain).map_err(|error| error.to_string())?),
        };
        Ok(Self { tag: Tag::Merge, content })
    }
}

/// `earlier` with `later` merged into it, at `path` of the model.
fn merge(path: &[&str], earlier: Value, later: Node) -> Value {
    let earlier = if later.tag == Tag::Override { Value::Null } else { earlier };
    let later = match later.content {
        Content::Mapping(members) => members,
        Content::Plain(Value::Array(items)) if is_keyed(path) => return merge_keyed(path, earlier, &items),
        Content::Plain(value) => return merge_plain(path, earlier, value),
    };
    let mut merged = match earlier {
        Value::Object(members) => members,
        _ => Map::new(),
    };
    for (key, node) in later {
        let deeper = [path, &[key.as_str()]].concat();
        match node.tag {
            // The place of a member is that of its first mention.
            Tag::Reset => drop(merged.shift_remove(&key)),
            _ => {
                let before = merged.get(&key).cloned().unwrap_or_default();
                let after = merge(&deeper, before, node);
                merged.insert(key, after);
            }
        }
    }
    Value::Object(merged)
}

/// Whether the value at `path` is a mapping that may be written as a list.
fn is_keyed(path: &[&str]) -> bool {
    matches!(path, ["services", _, member] if KEYED.contains(member))
}

/// A list of `NAME=value` or names, merged into a mapping.
fn merge_keyed(path: &[&str], earlier: Value, items: &[Value]) -> Value {
    let mut merged = match earlier {
        Value::Object(members) => members,
        _ => Map::new(),
    };
    for item in items.iter().filter_map(Value::as_str) {
        match path.last() {
            Some(&"networks") => drop(merged.insert(item.to_owned(), Value::Null)),
            Some(&"depends_on") => {
                drop(merged.insert(item.to_owned(), serde_json::json!({ "condition": "service_started" })));
            }
            _ => {
                let (name, value) = item.split_once('=').unwrap_or((item, ""));
                merged.insert(name.to_owned(), value.into());
            }
        }
    }
    Value::Object(merged)
}

fn merge_plain(path: &[&str], earlier: Value, later: Value) -> Value {
    let name = path.last().copied().unwrap_or_default();
    match (earlier, later) {
        (Value::Array(mut all), Value::Array(more)) if !REPLACED.contains(&name) => {
            for item in more {
                // Volumes are told apart by where they are mounted, other items by themselves.
                let target = if name == "volumes" { target(&item) } else { None };
                match all.iter().position(|known| *known == item || (target.is_some() && self::target(known) == target))
                {
                    Some(place) => all[place] = item,
                    None => all.push(item),
                }
            }
            Value::Array(all)
        }
        // An entry without a value in the later file changes nothing.
        (earlier, Value::Null) => earlier,
        (_, later) => later,
    }
}

/// Where a volume is mounted.
fn target(volume: &Value) -> Option<String> {
    let target = match volume {
        Value::String(text) => match text.split(':').collect::<Vec<_>>()[..] {
            [target] => target.to_owned(),
            [_, target, ..] => target.to_owned(),
            [] => return None,
        },
        long => long["target"].as_str()?.to_owned(),
    };
    Some(target)
}

#[cfg(test)]
mod tests;
