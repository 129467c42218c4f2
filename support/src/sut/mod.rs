//! The system under test: profiles of commands, and their processes (spec README §4).

mod builds;
mod ports;
mod probe;
mod process;
mod profile;

pub use builds::{Artifact, ArtifactKind, Build, BuildEntry, BuildTable};
pub use ports::Port;
pub use probe::{ProbeReply, probe};
pub(crate) use process::tail;
pub use process::{Farewell, Process, SpawnError, Streams, kill_group};
pub use profile::{Command, Key, Manifest, Place, Profile, ProfileError};
