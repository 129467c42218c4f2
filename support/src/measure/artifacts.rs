//! The documents and routes that a Build must have (spec scoring.md §1): five for each service,
//! and four of the orchestrator.

use std::path::Path;

use serde_json::Value;

use super::outputs::Judged;
use crate::{
    fixtures::{Build1, PipelineRun},
    sut::{Artifact, ArtifactKind, Build, Profile},
    verdict::Failure,
};

/// What every service must have.
const OF_A_SERVICE: [ArtifactKind; 5] = [
    ArtifactKind::Dockerfile,
    ArtifactKind::Manifest,
    ArtifactKind::Readme,
    ArtifactKind::ApiDocument,
    ArtifactKind::Health,
];

/// How many services a system must at least generate: three with five artifacts are the fifteen of the spec.
const SERVICES: usize = 3;

/// What the orchestrator must have, besides two reports of a run.
const OF_THE_ORCHESTRATOR: [ArtifactKind; 2] = [ArtifactKind::Manifest, ArtifactKind::Readme];

/// The names that a file of a kind has in a generated tree; one of them is enough.
const FILES: [(ArtifactKind, &[&str]); 4] = [
    (ArtifactKind::Dockerfile, &["Dockerfile"]),
    (ArtifactKind::Manifest, &["requirements.txt", "pyproject.toml", "package.json", "go.mod", "Cargo.toml"]),
    (ArtifactKind::Readme, &["README.md"]),
    (ArtifactKind::ApiDocument, &["openapi.yaml", "openapi.json", "asyncapi.yaml", "asyncapi.json"]),
];

/// The artifacts of Build 1: fifteen, where the profile says they are.
///
/// # Errors
/// UNTESTABLE when the profile names none; what is missing is in the value.
pub async fn of_build1(profile: &Profile, build1: &mut Build1) -> Result<Vec<Judged>, Failure> {
    let named = named(profile, Build::B1)?;
    let services: Vec<_> = build1.toolset().servers.iter().map(|server| server.key.clone()).collect();
    let mut judged = Vec::new();
    for service in services {
        for kind in OF_A_SERVICE {
            let artifact = find(named, kind, Some(&service));
            let wrong = match artifact {
                Some(Artifact { route: Some(route), .. }) if kind == ArtifactKind::Health => {
                    build1.twin(route).await.err().map(|error| format!("{error:?}"))
                }
                _ => wrong_with(profile, Build::B1, artifact),
            };
            judged.push((format!("{service}: {}", kind.name()), wrong));
        }
    }
    Ok(judged)
}

/// The artifacts of Build 2: five for each service of a run's map, and at least fifteen; those of
/// services that the map lacks are missing.
///
/// # Errors
/// As [`PipelineRun::finished`], and FAIL when the run left no map.
pub async fn of_build2(pipeline_run: &PipelineRun) -> Result<Vec<Judged>, Failure> {
    let run = pipeline_run.finished().await?;
    let map = run.workspace().json("service_map.json")?;
    let services = map["services"].as_array().into_iter().flatten().filter_map(|service| service["name"].as_str());
    let services: Vec<_> = services.collect();
    let deployed = run.address().map(|address| address.services).unwrap_or_default();
    let mut judged = lacking(services.len());
    for service in services {
        let tree = run.workspace().build(service);
        for (kind, names) in FILES {
            let path = names.iter().map(|name| tree.join(name)).find(|path| path.is_file());
            let wrong = match path {
                Some(path) => wrong_with_file(kind, &path),
                None => Some(format!("no {}", names.join(", "))),
            };
            judged.push((format!("{service}: {}", kind.name()), wrong));
        }
        let wrong = match deployed.get(service) {
            Some(url) => unhealthy(&format!("{url}/health")).await,
            None => Some("it is not deployed".into()),
        };
        judged.push((format!("{service}: {}", ArtifactKind::Health.name()), wrong));
    }
    Ok(judged)
}

/// The artifacts of the services that a map of so many services lacks.
fn lacking(planned: usize) -> Vec<Judged> {
    let wrong = Some(format!("the map has {planned} services of at least {SERVICES}"));
    let of = |number| OF_A_SERVICE.map(|kind| (format!("service {number}: {}", kind.name()), wrong.clone()));
    (planned + 1..=SERVICES).flat_map(of).collect()
}

/// The artifacts of Build 3: two where the profile says they are, two reports of a run.
///
/// # Errors
/// As [`PipelineRun::finished`], and UNTESTABLE when the profile names none; what is missing is in
/// the value.
pub async fn of_build3(profile: &Profile, pipeline_run: &PipelineRun) -> Result<Vec<Judged>, Failure> {
    let named = named(profile, Build::B3)?;
    let run = pipeline_run.finished().await?;
    let own = OF_THE_ORCHESTRATOR.map(|kind| {
        let wrong = wrong_with(profile, Build::B3, find(named, kind, None));
        (kind.name().to_owned(), wrong)
    });
    let reports = ["INTEGRATION_REPORT.md", "QUALITY_GATE_REPORT.md"].map(|name| {
        let text = run.workspace().text(name);
        let wrong = match &text {
            Err(error) => Some(format!("{error:?}")),
            Ok(text) => text.trim().is_empty().then(|| "is empty".to_owned()),
        };
        (name.to_owned(), wrong)
    });
    Ok(own.into_iter().chain(reports).collect())
}

fn named(profile: &Profile, build: Build) -> Result<&[Artifact], Failure> {
    match profile.build(build).artifacts.as_slice() {
        [] => Err(Failure::untestable(format!("the profile has no builds.build{}.artifacts", build.index() + 1))),
        some => Ok(some),
    }
}

fn find<'a>(named: &'a [Artifact], kind: ArtifactKind, service: Option<&str>) -> Option<&'a Artifact> {
    named.iter().find(|it| it.kind == kind && service.is_none_or(|service| it.service == service))
}

fn wrong_with(profile: &Profile, build: Build, artifact: Option<&Artifact>) -> Option<String> {
    match artifact {
        None => Some("the profile names none".into()),
        Some(Artifact { path: None, .. }) => Some("the profile names no path".into()),
        Some(Artifact { path: Some(path), kind, .. }) => wrong_with_file(*kind, &profile.build_root(build).join(path))
            .map(|wrong| format!("{} {wrong}", path.display())),
    }
}

/// What is wrong with a file; one that is there and says something is enough, except that an
/// API document must say which it is.
fn wrong_with_file(kind: ArtifactKind, path: &Path) -> Option<String> {
    let text = match std::fs::read_to_string(path) {
        Err(error) => return Some(error.to_string()),
        Ok(text) => text,
    };
    if text.trim().is_empty() {
        return Some("is empty".into());
    }
    if kind != ArtifactKind::ApiDocument {
        return None;
    }
    let document: Result<Value, _> = yaml_serde::from_str(&text);
    match document {
        Err(error) => Some(format!("is no YAML or JSON: {error}")),
        Ok(document) => {
            let says = document["openapi"].is_string() || document["asyncapi"].is_string();
            (!says).then(|| "says neither openapi nor asyncapi".to_owned())
        }
    }
}

async fn unhealthy(url: &str) -> Option<String> {
    match reqwest::get(url).await {
        Err(error) => Some(error.to_string()),
        Ok(answer) => (!answer.status().is_success()).then(|| format!("answers {}", answer.status())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pretty_assertions::assert_eq;
    use rstest::rstest;

    #[rstest]
    #[case::none(0, 15, Some("service 1: Dockerfile"))]
    #[case::one(1, 10, Some("service 2: Dockerfile"))]
    #[case::three(3, 0, None)]
    #[case::four(4, 0, None)]
    fn services_that_a_map_lacks_are_missed(
        #[case] planned: usize,
        #[case] missing: usize,
        #[case] first: Option<&str>,
    ) {
        let judged = lacking(planned);
        assert_eq!(judged.iter().filter(|(_, wrong)| wrong.is_some()).count(), missing);
        assert_eq!(judged.first().map(|(name, _)| name.as_str()), first);
    }

    #[rstest]
    #[case::readme(ArtifactKind::Readme, Some("# A\n"), None)]
    #[case::empty(ArtifactKind::Readme, Some(" \n"), Some("is empty"))]
    #[case::missing(ArtifactKind::Readme, None, Some("No such file"))]
    #[case::openapi(ArtifactKind::ApiDocument, Some("openapi: 3.1.0\n"), None)]
    #[case::no_document(ArtifactKind::ApiDocument, Some("title: x\n"), Some("neither openapi nor asyncapi"))]
    fn a_file_must_say_something(#[case] kind: ArtifactKind, #[case] text: Option<&str>, #[case] wrong: Option<&str>) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        if let Some(text) = text {
            std::fs::write(&path, text).expect("written");
        }
        let found = wrong_with_file(kind, &path);
        assert_eq!(found.is_some(), wrong.is_some(), "{found:?}");
        assert!(wrong.is_none_or(|wrong| found.is_some_and(|found| found.contains(wrong))));
    }
}
