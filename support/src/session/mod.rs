//! What lives as long as a run and is shared by all its test processes.
//!
//! A *session* is one `cargo run4`, or one `cargo nextest run`. A [`shared`] value is computed
//! by the first test that asks and read by the others. A long-lived process belongs to the
//! [`Supervisor`], which outlives every test and ends with the run, however the run ends.

mod client;
mod supervise;
mod sweep;

use std::{fs::File, io, path::PathBuf};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

pub(crate) use client::all_may_enter;
pub use client::{Service, Supervisor, scratch};
pub use supervise::{Watch, start_supervisor, supervise};
pub use sweep::{OUTER_SESSION_VARIABLE, is_running, marked_processes, sweep};
pub(crate) use sweep::{processes_in, sweep_folder, sweep_marked};

use crate::{
    atomic,
    stack::docker,
    verdict::{Failure, Status},
    workspace,
};

/// The folder of this session's shared values; removed when the session ends.
pub(crate) fn folder() -> PathBuf {
    workspace::output().join("session").join(workspace::session_id())
}

/// Removes from the engine what sessions have left there whose supervisor was killed as well; gives
/// what there was. Sessions that live are not touched (topology.md §9).
///
/// # Errors
/// When something cannot be removed.
pub(crate) fn end_aborted() -> io::Result<Vec<String>> {
    let entries = match std::fs::read_dir(workspace::output().join("session")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut ended = Vec::new();
    for entry in entries {
        let entry = entry?;
        // One that is about to end still has its supervisor, which does this itself.
        if !sweep::is_supervised(&entry.file_name().to_string_lossy())? && docker::has_noted(&entry.path()) {
            ended.extend(docker::sweep(&entry.path())?);
            std::fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(ended)
}

/// Takes the lock `name` of this session, shared or `alone`; it is free when the result is dropped,
/// or its holder dies.
///
/// # Errors
/// BROKEN when the lock cannot be had.
pub(crate) async fn lock(name: &str, alone: bool) -> Result<File, Failure> {
    std::fs::create_dir_all(folder())?;
    let lock = File::options().create(true).append(true).open(folder().join(format!("{name}.lock")))?;
    // Waiting on a thread of its own, since the holder may be another task on this one.
    let taken =
        tokio::task::spawn_blocking(move || if alone { lock.lock() } else { lock.lock_shared() }.map(|()| lock));
    Ok(taken.await.map_err(Failure::broken)??)
}

/// The shared value `name`: computed by `make` in the first test process that asks, and
/// read by every other. A failure is shared too, so that it costs its time only once.
///
/// # Errors
/// What `make` returned, in whichever process it ran; BROKEN when the value cannot be stored.
pub async fn shared<T, F>(name: &str, make: impl FnOnce() -> F) -> Result<T, Failure>
where
    T: Serialize + DeserializeOwned,
    F: Future<Output = Result<T, Failure>>,
{
    #[derive(Serialize, Deserialize)]
    enum Stored<T> {
        Value(T),
        Failure(Status),
    }
    let value_path = folder().join(format!("{name}.json"));
    let lock = lock(name, true).await?;
    if let Ok(text) = std::fs::read(&value_path) {
        return match serde_json::from_slice(&text)? {
            Stored::Value(value) => Ok(value),
            Stored::Failure(status) => Err(Failure::shared(status)),
        };
    }
    let outcome = make().await;
    match &outcome {
        Ok(value) => atomic::write_json(&value_path, &Stored::Value(value))?,
        Err(failure) => atomic::write_json(&value_path, &Stored::<T>::Failure(failure.status().clone()))?,
    }
    drop(lock);
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn two_tasks_of_one_thread_share_a_value() {
        let name = format!("shared-test-{}", std::process::id());
        let make = async |number: u32| {
            tokio::task::yield_now().await;
            Ok(number)
        };
        let (one, two) = tokio::join!(shared(&name, || make(1)), shared(&name, || make(2)));
        let values = [one, two].map(|value| value.expect("made"));
        assert_eq!(values[0], values[1]);
        let again: u32 = shared(&name, async || Err(Failure::broken("made twice"))).await.expect("stored");
        assert_eq!(again, values[0]);
        for end in ["json", "lock"] {
            std::fs::remove_file(folder().join(format!("{name}.{end}"))).expect("removed");
        }
    }
}
