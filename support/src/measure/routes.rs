//! The routes of Build 1's HTTP twins, each with one request and what must come back
//! (`fixtures/routes.toml`, spec http.md §1).

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::schemas::{misfit, validator};
use crate::{
    fixtures::Build1,
    mcp::{ToolsetError, Variables},
    verdict::Failure,
    workspace,
};

/// The schemas of bodies that no tool has.
const SCHEMAS: &str = "schemas/routes.schema.json";

/// The routes in the order in which they are asked.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteTable {
    /// The routes.
    #[serde(rename = "route")]
    pub routes: Vec<Route>,
}

/// One route.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// The manifest key of its twin, `architect_http`.
    pub twin: String,
    /// `GET`
    pub method: String,
    /// `/api/contracts/{id}`
    pub path: String,
    /// The path and query that are asked, with `${…}`; the path itself when it has no parameter.
    #[serde(default)]
    ask: Option<String>,
    /// The body that is sent, JSON with `${…}`.
    #[serde(default)]
    body: Option<String>,
    /// The status that must come back.
    status: u16,
    /// The definition that the body must fit; none when there is no body.
    #[serde(default)]
    schema: Option<String>,
    /// Variables that are set from the body, by JSON pointer.
    #[serde(default)]
    save: BTreeMap<String, String>,
}

/// The table cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("fixtures/routes.toml: {0}")]
pub struct RouteError(String);

impl RouteTable {
    /// Reads the table of this suite.
    ///
    /// # Errors
    /// When the file is missing or breaks its shape.
    pub fn load() -> Result<Self, RouteError> {
        let text = std::fs::read_to_string(workspace::fixture("routes.toml"));
        let text = text.map_err(|error| RouteError(error.to_string()))?;
        toml::from_str(&text).map_err(|error| RouteError(error.to_string()))
    }
}

impl Route {
    /// `GET /api/contracts/{id} (contract_engine_http)`
    pub fn name(&self) -> String {
        format!("{} {} ({})", self.method, self.path, self.twin)
    }

    /// `GET /api/contracts/{id} 200`
    pub fn success(&self) -> String {
        format!("{} {} {}", self.method, self.path, self.status)
    }

    /// Asks it once; tells what is wrong with the answer, if anything.
    ///
    /// # Errors
    /// FAIL when its twin does not start, UNTESTABLE when the profile has none.
    pub async fn ask(&self, build1: &mut Build1, variables: &mut Variables) -> Result<Option<String>, Failure> {
        let base = build1.twin(&self.twin).await?.url().to_owned();
        // What a route needs of an earlier one that did not answer well is not there.
        let (path, body) = match self.filled(variables) {
            Ok(filled) => filled,
            Err(error) => return Ok(Some(format!("it cannot be asked: {error}"))),
        };
        let method = self.method.parse().map_err(|_| Failure::broken(format!("{}: no method", self.name())))?;
        let mut request = reqwest::Client::new().request(method, format!("{base}{path}"));
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = match request.send().await {
            Ok(answer) => answer,
            Err(error) => return Ok(Some(format!("no answer: {error}"))),
        };
        let status = answer.status().as_u16();
        let body = answer.text().await.unwrap_or_default();
        if status != self.status {
            return Ok(Some(format!("status {status}, promised {}: {body:.200}", self.status)));
        }
        self.judge(&body, variables)
    }

    /// What is asked: path with query, and body.
    fn filled(&self, variables: &Variables) -> Result<(String, Option<Value>), ToolsetError> {
        let path = variables.text(self.ask.as_ref().unwrap_or(&self.path))?;
        let body = self.body.as_ref().map(|body| variables.value(body)).transpose()?;
        Ok((path, body))
    }

    /// What is wrong with a body; what later routes need of a good one is kept.
    fn judge(&self, body: &str, variables: &mut Variables) -> Result<Option<String>, Failure> {
        let Some(schema) = &self.schema else {
            return Ok((!body.is_empty()).then(|| format!("a body where none is promised: {body:.200}")));
        };
        let Ok(value) = serde_json::from_str::<Value>(body) else {
            return Ok(Some(format!("a body that is no JSON: {body:.200}")));
        };
        for (variable, pointer) in &self.save {
            if let Some(saved) = value.pointer(pointer) {
                variables.set(variable, saved.clone());
            }
        }
        Ok(misfit(&validator(SCHEMAS, schema)?, &value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn route(schema: Option<&str>) -> Route {
        let mut table = RouteTable::load().expect("the table of this suite can be read");
        let mut route = table.routes.remove(0);
        route.schema = schema.map(str::to_owned);
        route
    }

    #[rstest]
    #[case::fits(
        Some("register_artifact"),
        r#"{"indexed": true, "symbols_found": 1, "dependencies_found": 0, "errors": []}"#,
        None
    )]
    #[case::misfit(Some("register_artifact"), r#"{"indexed": true}"#, Some("required"))]
    #[case::no_json(Some("register_artifact"), "ok", Some("no JSON"))]
    #[case::nothing(None, "", None)]
    #[case::too_much(None, "{}", Some("none is promised"))]
    fn a_body_is_judged(#[case] schema: Option<&str>, #[case] body: &str, #[case] wrong: Option<&str>) {
        let found = route(schema).judge(body, &mut Variables::default()).expect("a good table");
        assert_eq!(found.is_some(), wrong.is_some(), "{found:?}");
        assert!(wrong.is_none_or(|wrong| found.is_some_and(|found| found.contains(wrong))));
    }

    #[test]
    fn every_route_can_be_asked_after_those_before_it() {
        let mut variables = crate::mcp::Toolset::load().and_then(|toolset| toolset.variables()).expect("readable");
        for route in RouteTable::load().expect("readable").routes {
            route.filled(&variables).unwrap_or_else(|error| panic!("{}: {error}", route.name()));
            route.save.keys().for_each(|variable| variables.set(variable, "kept".into()));
        }
    }

    #[test]
    fn every_schema_of_the_table_is_defined() {
        for route in RouteTable::load().expect("readable").routes {
            if let Some(schema) = &route.schema {
                validator(SCHEMAS, schema).unwrap_or_else(|error| panic!("{}: {error:?}", route.name()));
            }
        }
    }
}
