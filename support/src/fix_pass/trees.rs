//! A ground of source trees: generated services, which their builder repairs, and infrastructure,
//! which a command repairs. What is wrong the system's own scans say, from outside the builder:
//! its scan probe, and its quality gate over copies of the trees.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    ground::{Applied, Ground, Look},
    regressions::Hit,
    symptom::{By, Scanned, Symptom},
    violation::Violation,
};
use crate::{
    audit::scoring::{Rate, SystemTerms, Term, system_score},
    config::{
        BuilderDepth::{Quick, Thorough},
        Run4Config,
    },
    fixtures::{Builder, Orchestrator},
    measure::source::source_lines,
    pipeline::{
        builder::{Invocation, invoke},
        builder_inputs::INSTRUCTIONS_FILE,
        builder_state::parse_builder_state,
        gate::{GateInput, GateReport, LAYERS},
    },
    state::System,
    sut::{Command, probe},
    tree,
    verdict::Failure,
};

/// What a builder keeps for itself in a tree; no part of its sources.
const BUILDERS_OWN: [&str; 1] = [".agent-team"];

/// How long a repair by a command may take.
const COMMAND_LIMIT: Duration = Duration::from_secs(600);

/// One tree.
#[derive(Debug, Clone)]
pub struct Part {
    /// Its name: of a service, or `infrastructure`.
    pub name: String,
    /// Its folder, named like it.
    pub tree: PathBuf,
    /// Who repairs it.
    pub means: Means,
}

/// Who repairs a tree.
#[derive(Debug, Clone)]
pub enum Means {
    /// The builder of the system, in quick mode.
    Builder,
    /// Another program in the place of the builder.
    Program(Command),
    /// A command that is told where the instructions are, by `RUN4_INSTRUCTIONS`, and edits files in
    /// its folder: infrastructure.
    Edit(Command),
}

impl Part {
    fn is_service(&self) -> bool {
        !matches!(self.means, Means::Edit(_))
    }
}

/// Trees with what looks at them: the system's gate as it is, and the gate with its last layer only.
pub struct Trees {
    system: Orchestrator,
    advisory: Orchestrator,
    parts: Vec<Part>,
}

impl Trees {
    /// The ground of these trees, for the system that the settings name.
    ///
    /// # Errors
    /// When its profile cannot be used; the text names it.
    pub fn new(config: &Run4Config, parts: Vec<Part>) -> Result<Self, String> {
        let mut advisory = Orchestrator::named(config, "advisory")?;
        advisory.set("quality_gate.layer3_scanners", serde_json::json!([]));
        Ok(Self { system: Orchestrator::named(config, "trees")?, advisory, parts })
    }

    fn builder(&self) -> &Builder {
        self.system.builder()
    }

    fn part(&self, name: &str) -> Result<&Part, Failure> {
        let found = self.parts.iter().find(|part| part.name == name);
        found.ok_or_else(|| Failure::broken(format!("there is no tree of {name}")))
    }

    /// What all scans find, by part.
    async fn scan(&self) -> Result<Vec<(String, Violation)>, Failure> {
        let mut found = self.gate(&self.system, LAYERS[2]).await?;
        // After a layer 3 that failed there is no layer 4: it is asked for by itself.
        found.extend(self.gate(&self.advisory, LAYERS[3]).await?);
        for part in self.parts.iter().filter(|part| part.is_service()) {
            let own = self.builder().scan(&part.tree, &part.tree.join("contracts"), Thorough).await?;
            found.extend(own.into_iter().map(|violation| (part.name.clone(), violation)));
        }
        found.sort();
        Ok(found)
    }

    /// What one layer of the quality gate says of copies of the trees.
    async fn gate(&self, orchestrator: &Orchestrator, layer: &str) -> Result<Vec<(String, Violation)>, Failure> {
        let workspace = orchestrator.workspace();
        if workspace.root().join("builds").exists() {
            std::fs::remove_dir_all(workspace.root().join("builds"))?;
        }
        let mut input = GateInput::new().contract_tests(1, 1);
        for part in &self.parts {
            tree::copy(&part.tree, &workspace.build(&part.name))?;
            input = input.service(&part.name, &serde_json::json!({}));
        }
        input.write(workspace)?;
        let outcome = orchestrator.run(&["verify"]).await?;
        if !matches!(outcome.code, Some(0 | 1)) {
            return Err(Failure::fail(format!("the gate ended with {:?}: {}", outcome.code, outcome.stderr.trim())));
        }
        let report = GateReport::read(workspace)?;
        if report.layer(layer)["verdict"] == "skipped" || report.layer(layer)["verdict"].is_null() {
            return Err(Failure::fail(format!("the gate has not looked: {layer} was skipped")));
        }
        let violations = report.violations_of(layer).into_iter().map(|it| {
            let (code, severity, file, line) = (it.code, it.severity, it.place, it.line);
            (it.service, Violation { code, severity, file, line, message: it.message })
        });
        let is_service = |name: &str| self.parts.iter().any(|part| part.name == name && part.is_service());
        // What a service lacks, infrastructure need not have.
        Ok(violations.filter(|(name, violation)| violation.line > 0 || is_service(name)).collect())
    }

    fn symptom(part: &str, violation: &Violation) -> Symptom {
        let is_infrastructure = part == INFRASTRUCTURE;
        Scanned {
            by: By::Scan,
            component: part,
            target: part,
            system: if is_infrastructure { System::Integration } else { System::Build2 },
            evidence: "found by a scan from outside the builder (scan probe, quality gate)",
            reproduction: &format!("the scan probe, or `verify` of the orchestrator, on the tree of {part}"),
        }
        .symptom(violation)
    }

    /// The services' own tests as their builders ran them last.
    fn own_tests(&self) -> BTreeMap<String, (u64, u64)> {
        let services = self.parts.iter().filter(|part| part.is_service());
        services
            .map(|part| {
                let state = parse_builder_state(&part.tree);
                (part.name.clone(), (state.test_passed.unwrap_or(0), state.test_total.unwrap_or(0)))
            })
            .collect()
    }

    /// The score of Build 2 by what is seen here, tests and scans, scaled to 100 (scoring.md §1).
    fn score(&self, tests: &BTreeMap<String, (u64, u64)>, violations: usize) -> io::Result<Option<f64>> {
        let sum = tests.values().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        let [passed, total] = [sum.0, sum.1].map(|count| u32::try_from(count).unwrap_or(u32::MAX));
        let mut lines = 0;
        for part in &self.parts {
            lines += source_lines(&part.tree)?;
        }
        let unseen = || Term::not_measured("not seen in a fix pass");
        let terms = SystemTerms {
            requirements: Term::not_measured("not seen in a fix pass"),
            tests: Rate::new(passed, total).map_or_else(unseen, |rate| Term::measured(rate, "builders' tests")),
            contracts: unseen(),
            violation_density: match lines {
                0 => Term::not_measured("no source"),
                lines => Term::measured(1000.0 * violations as f64 / lines as f64, "scans"),
            },
            health: None,
            artifacts: unseen(),
        };
        Ok(system_score(&terms).of_measured())
    }

    async fn repair(&self, part: &Part, instructions: &Path) -> Result<(Option<f64>, String), Failure> {
        let program = match &part.means {
            Means::Edit(command) => {
                let mut command = command.clone();
                command.cwd.clone_from(&part.tree);
                command.env.insert("RUN4_INSTRUCTIONS".into(), instructions.display().to_string());
                let reply = probe(&command, "", self.builder().logs(), COMMAND_LIMIT).await?;
                let error = match reply.code {
                    Some(0) => String::new(),
                    code => format!("the command ended with {code:?}: {}", reply.stderr.trim()),
                };
                return Ok((None, error));
            }
            Means::Builder => None,
            Means::Program(command) => Some(command.clone()),
        };
        std::fs::copy(instructions, part.tree.join(INSTRUCTIONS_FILE))?;
        let invocation = self.builder().invocation(&part.tree, Quick).await?;
        let command = program.unwrap_or_else(|| invocation.command.clone());
        let result = invoke(&Invocation { command, ..invocation }).await?;
        let cost = result.cost.map(|cost| cost - result.cost_before.unwrap_or(0.0));
        Ok((cost, result.error.unwrap_or_default()))
    }
}

/// The name of the part that holds compose files, Dockerfiles of the stack and their like.
pub const INFRASTRUCTURE: &str = "infrastructure";

impl Ground for Trees {
    async fn look(&self) -> Result<Look, Failure> {
        let found = self.scan().await?;
        let tests = self.own_tests();
        let score = self.score(&tests, found.len())?;
        let hit = |(part, violation): &(String, Violation)| Hit {
            code: violation.code.clone(),
            path: format!("{part}/{}", violation.file),
            line: violation.line,
            message: violation.message.clone(),
            count: 1,
        };
        let passed = |(passed, total): (u64, u64)| total > 0 && passed == total;
        Ok(Look {
            hits: found.iter().map(hit).collect(),
            symptoms: found.iter().map(|(part, violation)| Self::symptom(part, violation)).collect(),
            tests: tests.into_iter().map(|(part, counts)| (format!("own tests of {part}"), passed(counts))).collect(),
            score,
        })
    }

    /// All trees are scanned: some scans compare services with each other.
    async fn gone(&self, keys: &BTreeSet<String>) -> Result<BTreeSet<String>, Failure> {
        let scanned: Vec<String> = self.parts.iter().map(|part| format!("scan {} ", part.name)).collect();
        let asked = keys.iter().filter(|key| scanned.iter().any(|part| key.starts_with(part)));
        let asked: BTreeSet<String> = asked.cloned().collect();
        if asked.is_empty() {
            return Ok(asked);
        }
        let found = self.scan().await?;
        let seen: BTreeSet<_> = found.iter().map(|(part, violation)| Self::symptom(part, violation).key).collect();
        Ok(asked.difference(&seen).cloned().collect())
    }

    fn turn(&self, target: &str) -> Option<u8> {
        self.part(target).is_ok().then_some(0)
    }

    async fn apply(&self, target: &str, instructions: &Path) -> Result<Applied, Failure> {
        let part = self.part(target)?;
        let content = || tree::digests(&part.tree, &BUILDERS_OWN);
        let before = content()?;
        let (cost, error) = self.repair(part, instructions).await?;
        let mut changed: Vec<_> =
            tree::differences(&before, &content()?).iter().map(|path| path.display().to_string()).collect();
        changed.retain(|path| path != INSTRUCTIONS_FILE);
        Ok(Applied::Done { changed, cost, error })
    }

    fn keep(&self, place: &Path) -> io::Result<()> {
        self.parts.iter().try_for_each(|part| tree::copy(&part.tree, &place.join(&part.name)))
    }

    fn restore(&self, place: &Path) -> io::Result<bool> {
        for part in &self.parts {
            if part.tree.exists() {
                std::fs::remove_dir_all(&part.tree)?;
            }
            tree::copy(&place.join(&part.name), &part.tree)?;
        }
        Ok(true)
    }
}
