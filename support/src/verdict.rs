//! The five values a verdict has (DESIGN, spec README §5), and how a test says one.

use std::{
    cell::RefCell,
    fmt,
    sync::atomic::{AtomicU64, Ordering},
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is known about a promise. Ordered from best to worst; merging takes the worst.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "status", content = "reason", rename_all = "UPPERCASE")]
pub enum Status {
    /// Executed, and it held.
    Pass,
    /// Not executed: not reached, not selected, or no test yet.
    Untested(String),
    /// Cannot be executed in this environment or with this system.
    Untestable(String),
    /// The suite or the machine failed; nothing is said about the system.
    Broken(String),
    /// Executed, and the system did not keep it.
    Fail(String),
}

impl Status {
    /// The word of the status alone.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Pass => "PASS",
            Self::Fail(_) => "FAIL",
            Self::Broken(_) => "BROKEN",
            Self::Untestable(_) => "UNTESTABLE",
            Self::Untested(_) => "UNTESTED",
        }
    }

    /// Why, for every status but PASS.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Pass => None,
            Self::Fail(reason) | Self::Broken(reason) | Self::Untestable(reason) | Self::Untested(reason) => {
                Some(reason)
            }
        }
    }

    /// The worst of several; `None` for none, which is never a pass.
    pub fn worst(all: impl IntoIterator<Item = Self>) -> Option<Self> {
        all.into_iter().max_by_key(Self::rank)
    }

    // Without the reason, so that the first of the worst is kept as it came.
    fn rank(&self) -> u8 {
        match self {
            Self::Pass => 0,
            Self::Untested(_) => 1,
            Self::Untestable(_) => 2,
            Self::Broken(_) => 3,
            Self::Fail(_) => 4,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.reason() {
            None => formatter.write_str(self.word()),
            Some(reason) => write!(formatter, "{}({reason})", self.word()),
        }
    }
}

/// What a test returns.
pub type Verdict = Result<(), Failure>;

/// Why a test did not pass. Made by [`Failure::fail`] and its siblings, or by `?` on an
/// error: what the system answers is a FAIL, what the suite itself could not do is BROKEN.
pub struct Failure {
    status: Status,
    number: u64,
}

thread_local! {
    /// The failures of this thread that somebody still holds, by number. When a test ends, the
    /// last of them is the one that `?` carries out of it; one that was looked at and dropped is
    /// no failure of the test.
    static HELD: RefCell<Vec<(u64, Status)>> = const { RefCell::new(Vec::new()) };
}

/// The number of the next failure, on whatever thread.
static NEXT: AtomicU64 = AtomicU64::new(0);

impl Failure {
    /// The system broke its promise.
    pub fn fail(reason: impl fmt::Display) -> Self {
        Self::new(Status::Fail(reason.to_string()))
    }

    /// The suite or the machine could not do its part.
    pub fn broken(reason: impl fmt::Display) -> Self {
        Self::new(Status::Broken(reason.to_string()))
    }

    /// This environment or this system offers no way to look.
    pub fn untestable(reason: impl fmt::Display) -> Self {
        Self::new(Status::Untestable(reason.to_string()))
    }

    /// The failure of a shared value, as the process that computed it saw it.
    pub(crate) fn shared(status: Status) -> Self {
        Self::new(status)
    }

    fn new(status: Status) -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        HELD.with_borrow_mut(|held| held.push((number, status.clone())));
        Self { status, number }
    }

    /// The status this failure gives.
    pub fn status(&self) -> &Status {
        &self.status
    }
}

impl Drop for Failure {
    fn drop(&mut self) {
        // A thread that ends may have given its list up already.
        let _ = HELD.try_with(|held| held.borrow_mut().retain(|(number, _)| *number != self.number));
    }
}

/// The last failure of this thread that is still held, for the evidence of the test that ends.
pub(crate) fn held_failure() -> Option<Status> {
    HELD.with_borrow(|held| held.last().map(|(_, status)| status.clone()))
}

impl fmt::Debug for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.status.word(), self.status.reason().unwrap_or_default())
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::broken(error)
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        Self::broken(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn status() -> impl Strategy<Value = Status> {
        let reason = "[a-z]{0,4}";
        prop_oneof![
            Just(Status::Pass),
            reason.prop_map(Status::Fail),
            reason.prop_map(Status::Broken),
            reason.prop_map(Status::Untestable),
            reason.prop_map(Status::Untested),
        ]
    }

    proptest! {
        #[test]
        fn a_merge_passes_only_when_everything_passed(all in proptest::collection::vec(status(), 0..6)) {
            let merged = Status::worst(all.clone());
            let green = !all.is_empty() && all.iter().all(|status| *status == Status::Pass);
            prop_assert_eq!(merged == Some(Status::Pass), green);
        }

        #[test]
        fn a_status_survives_json(status in status()) {
            let text = serde_json::to_string(&status).expect("a status is JSON");
            prop_assert_eq!(serde_json::from_str::<Status>(&text).expect("readable"), status);
        }
    }

    #[test]
    fn a_failure_counts_for_as_long_as_it_is_held() {
        let carried = Failure::fail("the reason");
        drop(Failure::broken("looked at too early"));
        assert_eq!(held_failure(), Some(carried.status().clone()));
        drop(carried);
        assert_eq!(held_failure(), None);
    }

    #[test]
    fn a_failure_outranks_a_broken_suite() {
        let all = [Status::Pass, Status::Fail("lost data".into()), Status::Broken("disk full".into())];
        assert_eq!(Status::worst(all).expect("some"), Status::Fail("lost data".into()));
    }
}
