//! Whether HTTP services are healthy (R4-M1-005, spec README §8, http.md §1.1).

#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, error::Error, fmt, time::Duration};

use futures::future::join_all;
use reqwest::{Client, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::Instant;

/// How long one answer may take, so that a mute service does not hold up the others.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// What the last poll of a service found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HealthCheckResult {
    /// The service.
    pub service: String,
    /// Whether it gave the required number of healthy answers in a row, up to the last poll.
    pub healthy: bool,
    /// HTTP status of the last answer; none when there was none.
    pub status_code: Option<u16>,
    /// How long the last answer took, in milliseconds; none when there was none.
    pub response_time_ms: Option<f64>,
    /// Why it is not healthy: `last seen: …`; none when it is.
    pub error: Option<String>,
}

/// The health of several services.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HealthAggregate {
    /// How many there are.
    pub total_services: usize,
    /// How many are healthy.
    pub healthy_services: usize,
    /// How many are not.
    pub unhealthy_services: usize,
    /// Whether all are healthy; false for no services at all.
    pub all_healthy: bool,
    /// The result of each.
    pub results: BTreeMap<String, HealthCheckResult>,
}

impl From<BTreeMap<String, HealthCheckResult>> for HealthAggregate {
    fn from(results: BTreeMap<String, HealthCheckResult>) -> Self {
        let total_services = results.len();
        let healthy_services = results.values().filter(|result| result.healthy).count();
        Self {
            total_services,
            healthy_services,
            unhealthy_services: total_services - healthy_services,
            all_healthy: total_services > 0 && healthy_services == total_services,
            results,
        }
    }
}

/// A service that is not healthy, and what it was last seen doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnhealthyService {
    /// The service.
    pub service: String,
    /// The address that was polled.
    pub url: String,
    /// `last seen: …`.
    pub last_seen: String,
}

/// Services that did not become healthy in time. The message names each with its address
/// and its last state.
#[derive(Debug, Clone, PartialEq, thiserror::Error, miette::Diagnostic)]
#[diagnostic(code(run4::stack::not_healthy), help("read the log of each service named here"))]
pub struct NotHealthy {
    /// How long was waited.
    pub waited: Duration,
    /// Those that are not healthy.
    pub unhealthy: Vec<UnhealthyService>,
    /// The health of all.
    pub aggregate: HealthAggregate,
}

impl fmt::Display for NotHealthy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = self.aggregate.total_services;
        if total == 0 {
            return formatter.write_str("there are no services to become healthy");
        }
        let (count, seconds) = (self.unhealthy.len(), self.waited.as_secs_f64());
        write!(formatter, "{count} of {total} services not healthy after {seconds:.1} s")?;
        for (index, UnhealthyService { service, url, last_seen }) in self.unhealthy.iter().enumerate() {
            let separator = if index == 0 { ':' } else { ';' };
            write!(formatter, "{separator} {service} at {url}, {last_seen}")?;
        }
        Ok(())
    }
}

/// Polls every service of `service_urls` (name → health URL) until each gave
/// `required_consecutive` healthy answers in a row, or `timeout` is over; then returns the
/// last result of each. All are polled at once, with a pause of `interval` between rounds,
/// until the last one is ready, so that a service that falls ill again meanwhile is seen.
///
/// An answer is healthy when it is HTTP 200 (not a redirect to one) and, when its body is
/// JSON with a `status`, that is `healthy`. Any other answer starts the count afresh.
/// No error is returned: what went wrong is in the results (spec README §8).
pub async fn poll_until_healthy(
    service_urls: &BTreeMap<String, String>,
    timeout: Duration,
    interval: Duration,
    required_consecutive: u32,
) -> BTreeMap<String, HealthCheckResult> {
    let started = Instant::now();
    let client = client();
    let required = required_consecutive.max(1);
    let mut tallies: BTreeMap<&str, Tally> =
        service_urls.keys().map(|name| (name.as_str(), Tally::default())).collect();
    loop {
        let left = timeout.saturating_sub(started.elapsed());
        let polls = service_urls.iter().map(async |(name, url)| (name, poll(&client, url, left).await));
        for (name, answer) in join_all(polls).await {
            tallies.entry(name).or_default().record(answer);
        }
        let left = timeout.saturating_sub(started.elapsed());
        if left <= interval || tallies.values().all(|tally| tally.in_a_row >= required) {
            break;
        }
        tokio::time::sleep(interval).await;
    }
    tallies.into_iter().map(|(name, tally)| (name.to_owned(), tally.into_result(name, required))).collect()
}

/// As [`poll_until_healthy`], for callers that cannot go on without every service.
///
/// # Errors
/// When a service did not become healthy within `timeout`, or there are none.
pub async fn wait_healthy(
    service_urls: &BTreeMap<String, String>,
    timeout: Duration,
    interval: Duration,
    required_consecutive: u32,
) -> Result<HealthAggregate, NotHealthy> {
    let started = Instant::now();
    let results = poll_until_healthy(service_urls, timeout, interval, required_consecutive).await;
    let aggregate = HealthAggregate::from(results);
    if aggregate.all_healthy {
        return Ok(aggregate);
    }
    let unhealthy = service_urls.iter().filter_map(|(service, url)| {
        let last_seen = aggregate.results.get(service)?.error.clone()?;
        Some(UnhealthyService { service: service.clone(), url: url.clone(), last_seen })
    });
    Err(NotHealthy { waited: started.elapsed(), unhealthy: unhealthy.collect(), aggregate })
}

/// The polls of one service so far.
#[derive(Default)]
struct Tally {
    in_a_row: u32,
    last: Option<Answer>,
}

impl Tally {
    fn record(&mut self, answer: Answer) {
        // A poll cut short by the end of the wait says less than the one before it.
        if answer.cut_short && self.last.is_some() {
            return;
        }
        self.in_a_row = if answer.healthy { self.in_a_row + 1 } else { 0 };
        self.last = Some(answer);
    }

    fn into_result(self, service: &str, required: u32) -> HealthCheckResult {
        let healthy = self.in_a_row >= required;
        let last = self.last.unwrap_or_default();
        let seen = match self.in_a_row {
            0 => last.seen,
            count => format!("{}, healthy {count} of {required} times in a row", last.seen),
        };
        HealthCheckResult {
            service: service.to_owned(),
            healthy,
            status_code: last.status_code,
            response_time_ms: last.took.map(|took| took.as_secs_f64() * 1000.0),
            error: (!healthy).then(|| format!("last seen: {seen}")),
        }
    }
}

/// What one poll found.
#[derive(Default)]
struct Answer {
    healthy: bool,
    status_code: Option<u16>,
    took: Option<Duration>,
    seen: String,
    cut_short: bool,
}

/// A client that goes to the named address and nowhere else.
fn client() -> Result<Client, String> {
    let builder = Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
    builder.build().map_err(|error| format!("no HTTP client: {}", cause(&error)))
}

async fn poll(client: &Result<Client, String>, url: &str, left: Duration) -> Answer {
    let client = match client {
        Ok(client) => client,
        Err(reason) => return Answer { seen: reason.clone(), ..Answer::default() },
    };
    let limit = left.min(ANSWER_LIMIT);
    let started = Instant::now();
    match tokio::time::timeout(limit, ask(client, url)).await {
        Err(_) => Answer {
            seen: format!("no answer within {:.1} s", limit.as_secs_f64()),
            cut_short: limit < ANSWER_LIMIT,
            ..Answer::default()
        },
        Ok(Err(error)) => Answer { seen: cause(&error), ..Answer::default() },
        Ok(Ok((status, body))) => Answer { took: Some(started.elapsed()), ..judge(status, &body) },
    }
}

async fn ask(client: &Client, url: &str) -> reqwest::Result<(StatusCode, Vec<u8>)> {
    let response = client.get(url).send().await?;
    let status = response.status();
    Ok((status, response.bytes().await?.to_vec()))
}

fn judge(status: StatusCode, body: &[u8]) -> Answer {
    let said = serde_json::from_slice::<Value>(body).ok().and_then(|body| body.get("status").cloned());
    let seen = match &said {
        Some(said) => format!("HTTP {} with status {said}", status.as_u16()),
        None => format!("HTTP {}", status.as_u16()),
    };
    let healthy = status == StatusCode::OK && said.is_none_or(|said| said == "healthy");
    Answer { healthy, status_code: Some(status.as_u16()), seen, ..Answer::default() }
}

/// The innermost cause: "connection refused" rather than "error sending request".
fn cause(error: &reqwest::Error) -> String {
    let mut innermost: &dyn Error = error;
    while let Some(deeper) = innermost.source() {
        innermost = deeper;
    }
    innermost.to_string()
}
