//! MCP over stdio as the suite speaks it: typed errors for everything that can go wrong,
//! replies read right whatever SDK wrote them (spec tools.md §2).

mod clients;
mod error;
mod facts;
mod health;
mod latency;
mod raw;
mod reply;
pub mod scripted;
mod session;
mod spelling;
mod toolset;
mod variables;

pub use clients::{ClientMethod, ClientMethods, ClientMethodsError, Form, Variant};
pub use error::{Class, McpError};
pub use facts::{Fact, reply_schema};
pub use health::check_mcp_health;
pub use latency::{LatencyRecorder, LatencySummary};
pub use raw::RawSession;
pub use reply::{Kind, Reply};
pub use session::{Identity, Limits, Session};
pub use spelling::normalise;
pub use toolset::{Case, Condition, Server, StepCall, Tool, Toolset, ToolsetError};
pub use variables::Variables;
