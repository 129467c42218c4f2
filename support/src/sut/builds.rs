//! What a profile may say of the Builds themselves: their source, requirements and documents,
//! which scores are measured on (spec scoring.md §1, §9).

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One of the three Builds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum Build {
    /// Architect, Contract Engine, Codebase Intelligence.
    B1,
    /// The builder.
    B2,
    /// The orchestrator.
    B3,
}

impl Build {
    /// All of them, in order.
    pub const ALL: [Self; 3] = [Self::B1, Self::B2, Self::B3];

    /// Its place in [`Build::ALL`].
    pub fn index(self) -> usize {
        self as usize
    }
}

impl std::fmt::Display for Build {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.pad(match self {
            Self::B1 => "Build 1",
            Self::B2 => "Build 2",
            Self::B3 => "Build 3",
        })
    }
}

/// The table `builds` of a profile; whatever is left out is not measured.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BuildTable {
    build1: BuildEntry,
    build2: BuildEntry,
    build3: BuildEntry,
}

impl BuildTable {
    /// What is said of one Build.
    pub fn entry(&self, build: Build) -> &BuildEntry {
        match build {
            Build::B1 => &self.build1,
            Build::B2 => &self.build2,
            Build::B3 => &self.build3,
        }
    }
}

/// What a profile says of one Build. Paths are relative to the project root of the Build.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BuildEntry {
    /// The folders of its source.
    pub sources: Vec<PathBuf>,
    /// A table of its requirements with their implementation and tests.
    pub requirements: Option<PathBuf>,
    /// Its PRD: then the register is the PRD's, and `requirements` only links it.
    pub prd: Option<PathBuf>,
    /// The documents and routes it must have.
    pub artifacts: Vec<Artifact>,
}

/// A document or route that a Build must have.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Artifact {
    /// The service or program it is of.
    pub service: String,
    /// What it is.
    pub kind: ArtifactKind,
    /// Where the file is; none for a health endpoint.
    #[serde(default)]
    pub path: Option<PathBuf>,
    /// The command whose `ready` URL is the health endpoint, `architect_http`.
    #[serde(default)]
    pub route: Option<String>,
}

/// The kinds of artifacts (spec scoring.md §1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ArtifactKind {
    /// How its image is made.
    Dockerfile,
    /// What it depends on.
    Manifest,
    /// README.md.
    Readme,
    /// An OpenAPI or AsyncAPI document.
    ApiDocument,
    /// A health endpoint that answers.
    Health,
}

impl ArtifactKind {
    /// As messages call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dockerfile => "Dockerfile",
            Self::Manifest => "dependency manifest",
            Self::Readme => "README.md",
            Self::ApiDocument => "OpenAPI or AsyncAPI document",
            Self::Health => "health endpoint",
        }
    }
}
