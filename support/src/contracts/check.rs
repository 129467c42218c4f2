//! Requests to the services of the sample application, and their answers against the contracts.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use super::answer::{Breach, breaches};
use crate::verdict::Failure;

/// What the suite found of one service.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct OwnCheck {
    /// Requests that were sent.
    pub total: usize,
    /// Those whose answer broke the contract, or had another status than a right service gives.
    pub broken: usize,
    /// Every way in which the contract was broken.
    pub breaches: BTreeSet<Breach>,
    /// `GET /orders/{id}: expected 404, seen 400`.
    pub surprises: Vec<String>,
    /// The last body with status 200 of each endpoint.
    pub bodies: std::collections::BTreeMap<String, Value>,
}

/// One service under check.
struct Live<'c> {
    service: &'c str,
    base: &'c str,
    spec: &'c Value,
    client: reqwest::Client,
    found: OwnCheck,
}

/// A request: method, path template, value of its placeholder, token, body, and the status of a
/// right service.
struct Step<'c>(&'c str, &'c str, &'c str, Option<&'c str>, Option<Value>, u16);

impl Live<'_> {
    async fn take(&mut self, Step(method, path, id, token, body, promised): Step<'_>) -> Result<Value, Failure> {
        let url = format!("{}{}", self.base, path.replace("{id}", id));
        let failed = |error: reqwest::Error| Failure::fail(format!("{method} {url}: {error}"));
        let verb = reqwest::Method::from_bytes(method.as_bytes()).map_err(Failure::broken)?;
        let mut request = self.client.request(verb, &url);
        request = token.into_iter().fold(request, |request, token| request.bearer_auth(token));
        request = body.into_iter().fold(request, |request, body| request.json(&body));
        let answer = request.send().await.map_err(failed)?;
        let status = answer.status().as_u16();
        let text = answer.text().await.map_err(failed)?;
        let value = serde_json::from_str(&text).unwrap_or(Value::String(text));
        let found = breaches(self.service, self.spec, method, path, status, &value);
        let surprise = (status != promised).then(|| format!("{method} {path}: expected {promised}, seen {status}"));
        self.found.total += 1;
        self.found.broken += usize::from(surprise.is_some() || !found.is_empty());
        self.found.surprises.extend(surprise);
        self.found.breaches.extend(found);
        if status == 200 {
            self.found.bodies.insert(format!("{method} {path}"), value.clone());
        }
        Ok(value)
    }
}

fn live<'c>(service: &'c str, base: &'c str, spec: &'c Value) -> Live<'c> {
    Live { service, base, spec, client: reqwest::Client::new(), found: OwnCheck::default() }
}

/// Checks every operation of a service like order-service, as the caller with `token`.
///
/// # Errors
/// FAIL when it does not answer.
pub async fn check_orders(service: &str, base: &str, spec: &Value, token: &str) -> Result<OwnCheck, Failure> {
    const ALL: &str = "/orders";
    const ONE: &str = "/orders/{id}";
    let mut live = live(service, base, spec);
    let good = json!({ "items": [{ "product_id": "p-1", "quantity": 2, "price": 4.5 }], "total": 9.0 });
    let status = |status: &str| Some(json!({ "status": status }));
    let (token, unknown) = (Some(token), Uuid::new_v4().to_string());
    let order = live.take(Step("POST", ALL, "", token, Some(good.clone()), 201)).await?;
    live.take(Step("POST", ALL, "", None, Some(good), 401)).await?;
    live.take(Step("POST", ALL, "", token, Some(json!({ "items": [], "total": 1.0 })), 422)).await?;
    let id = order["id"].as_str().unwrap_or_default();
    live.take(Step("GET", ONE, id, token, None, 200)).await?;
    live.take(Step("GET", ONE, id, None, None, 401)).await?;
    live.take(Step("GET", ONE, &unknown, token, None, 404)).await?;
    live.take(Step("PUT", ONE, id, token, status("confirmed"), 200)).await?;
    live.take(Step("PUT", ONE, id, token, status("confirmed"), 409)).await?;
    live.take(Step("PUT", ONE, id, token, status("lost"), 422)).await?;
    live.take(Step("PUT", ONE, id, None, status("shipped"), 401)).await?;
    live.take(Step("PUT", ONE, &unknown, token, status("confirmed"), 404)).await?;
    Ok(live.found)
}

/// Checks every operation of a service like auth-service; gives an access token as well.
///
/// # Errors
/// FAIL when it does not answer.
pub async fn check_users(service: &str, base: &str, spec: &Value) -> Result<(OwnCheck, String), Failure> {
    let mut live = live(service, base, spec);
    let email = format!("{}@example.com", Uuid::new_v4().simple());
    let person = |password: &str| Some(json!({ "email": email, "password": password }));
    live.take(Step("POST", "/register", "", None, person("long enough"), 201)).await?;
    live.take(Step("POST", "/register", "", None, person("long enough"), 409)).await?;
    live.take(Step("POST", "/register", "", None, person("short"), 422)).await?;
    let tokens = live.take(Step("POST", "/login", "", None, person("long enough"), 200)).await?;
    live.take(Step("POST", "/login", "", None, person("another password"), 401)).await?;
    let token = tokens["access_token"].as_str().unwrap_or_default().to_owned();
    live.take(Step("GET", "/users/me", "", Some(&token), None, 200)).await?;
    live.take(Step("GET", "/users/me", "", None, None, 401)).await?;
    Ok((live.found, token))
}
