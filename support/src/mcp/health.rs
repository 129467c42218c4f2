//! The health check of an MCP server (plan R4-M1-005).

use std::{path::Path, time::Duration};

use super::{Limits, Session};
use crate::{
    state::{HealthResult, HealthStatus},
    sut::Command,
};

/// Starts the server, shakes hands, lists its tools and ends it, all within `timeout`.
pub async fn check_mcp_health(command: &Command, logs: &Path, timeout: Duration) -> HealthResult {
    let limits = Limits { start: timeout, call: timeout, idle: timeout };
    let listed = async {
        let session = Session::open(command, logs, limits).await?;
        let tools = session.list_tools().await;
        session.close().await;
        tools
    };
    match listed.await {
        Ok(tools) => HealthResult {
            status: HealthStatus::Healthy,
            tools_count: u32::try_from(tools.len()).unwrap_or(u32::MAX),
            tool_names: tools.into_iter().map(|tool| tool.name.into_owned()).collect(),
            error: String::new(),
        },
        Err(error) => HealthResult {
            status: HealthStatus::Unhealthy,
            tools_count: 0,
            tool_names: Vec::new(),
            error: error.to_string(),
        },
    }
}
