//! The catalogue of findings: what was seen, each cause once, under ids that stay (R4-M5-001).

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{convergence::Open, instructions::Item, priority::Effect, symptom::Symptom, violation::Severity};
use crate::state::{CatalogFull, Finding, FindingId, Priority, Resolution};

/// A finding with what the fix passes must know of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Entry {
    /// The record of the plan.
    #[serde(flatten)]
    pub finding: Finding,
    /// What is wrong, on one line.
    pub title: String,
    /// The id of the matrix or the code of the scan.
    pub code: String,
    /// The file below the component; empty for none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub file: String,
    /// The line, from 1; 0 for none.
    #[serde(default)]
    pub line: u64,
    /// What the scan said.
    pub severity: Severity,
    /// What it does to those who use the system.
    pub effect: Effect,
    /// What its last symptom does: what it goes by when it is classified again.
    pub latest: Effect,
    /// The branch of the decision tree that was taken.
    pub branch: String,
    /// A command that shows it.
    pub reproduction: String,
    /// What can be done until it is repaired; empty for nothing.
    #[serde(default)]
    pub workaround: String,
    /// Who is told to repair it; empty for nobody.
    #[serde(default)]
    pub target: String,
    /// The cause that its symptoms share.
    pub cause: String,
    /// The keys of its symptoms, of all looks.
    pub symptoms: BTreeSet<String>,
    /// The pass in which it was seen first; 0 for the first catalogue.
    #[serde(default)]
    pub seen_in: u32,
    /// How many passes have attempted it.
    #[serde(default)]
    pub attempts: u32,
    /// Why it is open or left; empty when it is fixed.
    #[serde(default)]
    pub reason: String,
}

impl Entry {
    /// Whether it still counts as a defect.
    pub fn is_open(&self) -> bool {
        matches!(self.finding.resolution, Resolution::Open | Resolution::Undecided)
    }

    /// Its item of FIX_INSTRUCTIONS.md.
    pub fn item(&self) -> Item {
        Item {
            finding: self.finding.finding_id,
            code: self.code.clone(),
            message: self.title.clone(),
            priority: self.finding.priority,
            component: self.finding.component.clone(),
            file: self.file.clone(),
            line: self.line,
            severity: self.severity,
            evidence: format!("{}; shown by: {}", self.finding.evidence, self.reproduction),
            action: self.finding.recommendation.clone(),
        }
    }

    /// Takes priority and branch from the tree.
    pub fn classify(&mut self) {
        let decision = self.effect.decide(!self.workaround.is_empty());
        self.finding.priority = decision.priority;
        decision.branch.clone_into(&mut self.branch);
        self.reason = match self.finding.priority {
            Priority::P3 => "documented only (P3)".into(),
            _ if self.target.is_empty() => "nobody is known who could repair it".into(),
            _ => String::new(),
        };
    }

    fn open(symptom: &Symptom, id: FindingId, pass: u32, now: Option<DateTime<Utc>>) -> Self {
        let mut entry = Self {
            finding: Finding {
                finding_id: id,
                priority: Priority::P3,
                system: symptom.system,
                component: symptom.component.clone(),
                evidence: symptom.evidence.clone(),
                recommendation: symptom.recommendation.clone(),
                resolution: Resolution::Open,
                fix_pass_number: 0,
                fix_verification: String::new(),
                created_at: now,
            },
            title: symptom.title.clone(),
            code: symptom.code.clone(),
            file: symptom.file.clone(),
            line: symptom.line,
            severity: symptom.severity,
            effect: symptom.effect,
            latest: symptom.effect,
            branch: String::new(),
            reproduction: symptom.reproduction.clone(),
            workaround: symptom.workaround.clone(),
            target: symptom.target.clone(),
            cause: symptom.cause.clone(),
            symptoms: BTreeSet::new(),
            seen_in: pass,
            attempts: 0,
            reason: String::new(),
        };
        entry.classify();
        entry
    }

    fn is_of(&self, symptom: &Symptom) -> bool {
        self.symptoms.contains(&symptom.key) || self.cause == symptom.cause
    }

    /// Goes back to classification, by what was seen last.
    pub fn classify_again(&mut self) {
        self.effect = self.latest;
        self.classify();
    }

    fn was_tried(&self) -> bool {
        self.effect != Effect::NotTried
    }

    /// Takes a further symptom in: one that is worse than what is known makes the finding worse.
    fn take(&mut self, symptom: &Symptom) {
        self.symptoms.insert(symptom.key.clone());
        if symptom.line != self.line {
            // It stands in more than one line: whoever repairs it must look at the whole file.
            self.line = 0;
        }
        if symptom.effect == Effect::NotTried && self.was_tried() {
            // That it could not be tried now says nothing new.
            return;
        }
        self.latest = symptom.effect;
        let decided = symptom.effect.decide(!symptom.workaround.is_empty()).priority;
        if decided < self.finding.priority && self.attempts == 0 {
            self.effect = symptom.effect;
            self.workaround.clone_from(&symptom.workaround);
            self.classify();
        }
    }
}

/// All findings of a run, in the order of their ids.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Catalogue {
    /// The findings.
    pub entries: Vec<Entry>,
}

impl Catalogue {
    /// Takes in what a look saw in pass number `pass` (0 before the first): symptoms of a known
    /// finding belong to it and open it again, the others are findings of their own, one a cause.
    /// Gives the ids of the new ones.
    ///
    /// # Errors
    /// When there is no id left (D-127); what came before is in.
    pub fn absorb(
        &mut self,
        symptoms: &[Symptom],
        pass: u32,
        now: Option<DateTime<Utc>>,
    ) -> Result<Vec<FindingId>, CatalogFull> {
        let mut by_key: BTreeMap<String, usize> = BTreeMap::new();
        let mut by_cause: BTreeMap<String, usize> = BTreeMap::new();
        for (index, entry) in self.entries.iter().enumerate() {
            by_key.extend(entry.symptoms.iter().map(|key| (key.clone(), index)));
            by_cause.entry(entry.cause.clone()).or_insert(index);
        }
        let mut new = Vec::new();
        for symptom in symptoms {
            let mut by_its_key = by_key.get(&symptom.key).copied();
            if let Some(index) =
                by_its_key.filter(|index| symptom.effect != Effect::NotTried && !self.entries[*index].was_tried())
            {
                // What could not be tried before has failed now: that is a defect of its own.
                self.entries[index].symptoms.remove(&symptom.key);
                by_its_key = None;
            }
            let known = by_its_key.or_else(|| by_cause.get(&symptom.cause).copied());
            let index = match known {
                Some(index) => index,
                None => {
                    let id = self.next_id()?;
                    self.entries.push(Entry::open(symptom, id, pass, now));
                    new.push(id);
                    self.entries.len() - 1
                }
            };
            by_cause.entry(symptom.cause.clone()).or_insert(index);
            let entry = &mut self.entries[index];
            if entry.finding.resolution == Resolution::Fixed {
                entry.finding.resolution = Resolution::Open;
                entry.reason = format!("was fixed in pass {}, and is back", entry.finding.fix_pass_number);
                (entry.finding.fix_pass_number, entry.finding.fix_verification) = (0, String::new());
                entry.attempts = 0;
            }
            entry.take(symptom);
        }
        Ok(new)
    }

    fn next_id(&self) -> Result<FindingId, CatalogFull> {
        FindingId::after(self.entries.iter().map(|entry| entry.finding.finding_id))
    }

    /// The findings that are still there.
    pub fn open(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|entry| entry.is_open())
    }

    /// How many of each priority are still there.
    pub fn count(&self) -> Open {
        Open::of(self.open().map(|entry| entry.finding.priority))
    }

    /// The finding `id`.
    pub fn get_mut(&mut self, id: FindingId) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| entry.finding.finding_id == id)
    }

    /// The finding `id`.
    pub fn get(&self, id: FindingId) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.finding.finding_id == id)
    }

    /// Those of `ids` whose every symptom is among the keys that are gone.
    pub fn resolved(&self, ids: &[FindingId], gone: &BTreeSet<String>) -> Vec<FindingId> {
        let is_gone = |id: &&FindingId| self.get(**id).is_some_and(|entry| entry.symptoms.is_subset(gone));
        ids.iter().filter(is_gone).copied().collect()
    }

    /// Notes as fixed in `pass` the findings among `ids` of which a look shows nothing more; gives them.
    pub fn settle(
        &mut self,
        ids: impl IntoIterator<Item = FindingId>,
        seen: &[Symptom],
        pass: u32,
        verification: &str,
    ) -> Vec<FindingId> {
        let mut fixed = Vec::new();
        for id in ids {
            let Some(entry) = self.get_mut(id) else { continue };
            if entry.is_open() && !seen.iter().any(|symptom| entry.is_of(symptom)) {
                entry.finding.resolution = Resolution::Fixed;
                (entry.finding.fix_pass_number, entry.finding.fix_verification) = (pass, verification.to_owned());
                entry.reason.clear();
                fixed.push(id);
            }
        }
        fixed
    }
}

#[cfg(test)]
#[path = "catalogue_tests.rs"]
mod tests;
