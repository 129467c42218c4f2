//! The three layers a setting can come from, and which one a value did come from.

use std::{ffi::OsString, path::Path, str::FromStr};

use figment::{
    Error, Figment, Metadata, Profile, Provider, Source,
    providers::{Format, Serialized, Toml},
    value::{Dict, Map, Value},
};

use super::{ConfigError, Origin, Run4Config, check::allowed};

const PREFIX: &str = "RUN4_";

/// Variables with the prefix that choose a session or a tool and are no settings.
const NOT_SETTINGS: [&str; 3] = ["RUN4_SESSION", "RUN4_BUNDLE", "RUN4_PYTHON"];

/// `cargo nextest run -P docker` asks for the substrate of that name, unless `RUN4_SUBSTRATE` says
/// another.
const NEXTEST_PROFILE: &str = "NEXTEST_PROFILE";
const DOCKER_PROFILE: &str = "docker";
const SUBSTRATE: &str = "substrate";

const INTERNAL_PREFIX: &str = "RUN4_INTERNAL_";

/// Defaults, file and variables, merged.
pub(super) struct Layers(Figment);

impl Layers {
    /// Merges the layers and refuses keys that are no settings.
    pub(super) fn read(
        file: &Path,
        variables: impl Iterator<Item = (OsString, OsString)>,
    ) -> Result<Self, ConfigError> {
        let defaults = Serialized::defaults(Run4Config::default());
        let known = data_of(&defaults).map_err(|error| unreadable(file, &error))?;
        let mut figment = Figment::from(defaults);

        if file.try_exists().map_err(|error| unreadable(file, &error))? {
            let provider = Toml::file_exact(file);
            let given = data_of(&provider).map_err(|error| unreadable(file, &error))?;
            refuse_unknown(&given, &known, &Origin::File(file.to_path_buf()))?;
            figment = figment.merge(provider);
        }
        let variables = Variables::read(variables, &known)?;
        refuse_unknown(&variables.0, &known, &Origin::Environment)?;
        Ok(Self(figment.merge(variables)))
    }

    /// The settings, when every value has its type.
    pub(super) fn extract(&self) -> Result<Run4Config, ConfigError> {
        self.0.extract().map_err(|error| self.refuse(error.path.first().map_or("", String::as_str)))
    }

    /// The error for a value that its setting does not take.
    pub(super) fn refuse(&self, key: &str) -> ConfigError {
        let found = self.0.find_value(key).map(|value| describe(&value)).unwrap_or_default();
        let (key, allowed, origin) = (self.spelled(key), allowed(key), self.origin(key));
        ConfigError::InvalidValue { key, origin, found, allowed }
    }

    /// Who gave the value of `key`.
    pub(super) fn origin(&self, key: &str) -> Origin {
        match self.0.find_metadata(key).map(|metadata| &metadata.source) {
            Some(Some(Source::File(path))) => Origin::File(path.clone()),
            Some(Some(Source::Custom(_))) => Origin::Environment,
            _ => Origin::Defaults,
        }
    }

    /// `key` as its origin spells it.
    pub(super) fn spelled(&self, key: &str) -> String {
        spell(key, &self.origin(key))
    }
}

/// The variables that are settings, keyed by setting.
struct Variables(Dict);

impl Variables {
    fn read(variables: impl Iterator<Item = (OsString, OsString)>, known: &Dict) -> Result<Self, ConfigError> {
        let mut dict = Dict::new();
        for (name, text) in variables {
            if name == NEXTEST_PROFILE && text == DOCKER_PROFILE {
                dict.entry(SUBSTRATE.to_owned()).or_insert_with(|| Value::from(DOCKER_PROFILE));
                continue;
            }
            let Some(key) = name.to_str().and_then(setting_of) else { continue };
            let text = text.into_string().map_err(|text| ConfigError::InvalidValue {
                key: spell(&key, &Origin::Environment),
                origin: Origin::Environment,
                found: format!("{text:?}"),
                allowed: "text in UTF-8",
            })?;
            // A setting that holds text takes its variable as it stands: "007" is a fine name.
            let value = match known.get(&key) {
                Some(Value::String(..)) => Value::from(text),
                _ => Value::from_str(&text).unwrap_or_else(|never| match never {}),
            };
            dict.insert(key, value);
        }
        Ok(Self(dict))
    }
}

impl Provider for Variables {
    fn metadata(&self) -> Metadata {
        Metadata::from("environment", Source::Custom("environment".into()))
    }

    fn data(&self) -> Result<Map<Profile, Dict>, Error> {
        Ok(Profile::Default.collect(self.0.clone()))
    }
}

/// The setting that a variable stands for, known or not.
fn setting_of(variable: &str) -> Option<String> {
    let ignored = NOT_SETTINGS.contains(&variable) || variable.starts_with(INTERNAL_PREFIX);
    let key = variable.strip_prefix(PREFIX).filter(|_| !ignored)?;
    Some(key.to_ascii_lowercase())
}

/// What a provider says, or why it cannot be read.
fn data_of(provider: &impl Provider) -> Result<Dict, String> {
    let mut data = provider.data().map_err(|error| error.kind.to_string())?;
    Ok(data.remove(&Profile::Default).unwrap_or_default())
}

fn refuse_unknown(given: &Dict, known: &Dict, origin: &Origin) -> Result<(), ConfigError> {
    let Some(key) = given.keys().find(|key| !known.contains_key(*key)) else { return Ok(()) };
    let nearest = known.keys().min_by_key(|name| strsim::damerau_levenshtein(name, key)).map_or("", String::as_str);
    Err(ConfigError::UnknownKey { key: spell(key, origin), nearest: spell(nearest, origin), origin: origin.clone() })
}

fn spell(key: &str, origin: &Origin) -> String {
    match origin {
        Origin::Environment => format!("{PREFIX}{}", key.to_ascii_uppercase()),
        Origin::Defaults | Origin::File(_) => key.to_owned(),
    }
}

fn describe(value: &Value) -> String {
    toml::Value::try_from(value).map_or_else(|_| format!("{value:?}"), |value| value.to_string())
}

fn unreadable(file: &Path, reason: &dyn std::fmt::Display) -> ConfigError {
    ConfigError::Unreadable { path: file.to_path_buf(), reason: reason.to_string() }
}
