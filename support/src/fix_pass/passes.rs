//! The fix passes: discover, classify, instruct, apply, verify, regress, until a rule says stop
//! (R4-M5-003, scoring.md §6). One step at a time, and the ledger is saved after each.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
};

use chrono::Utc;

use super::{
    convergence::{Limits, Open, Stop, ratio},
    ground::{Applied, Ground, Look},
    instructions::{Item, listed, render},
    ledger::{Current, INSTRUCTIONS, Ledger, LedgerError, Pass, Step, When, read_snapshot, snapshot_file},
    regressions::RegressionDetails,
};
use crate::{
    atomic,
    state::{FindingId, FixPass, Priority},
    verdict::{Failure, Verdict},
};

/// The folder of the best state so far, while the loop runs.
const BEST: &str = "m5_fix_best";

/// Attempts after which a finding goes back to classification.
const ATTEMPTS_TO_CLASSIFY: u32 = 2;

/// Attempts after which a P1 is assessed as P2.
const ATTEMPTS_TO_DOWNGRADE: u32 = 3;

/// The fix passes of one run on one ground.
pub struct FixLoop<'g, G> {
    ground: &'g G,
    home: PathBuf,
    limits: Limits,
    ledger: Ledger,
}

impl<'g, G: Ground> FixLoop<'g, G> {
    /// The loop whose ledger, snapshots and instructions are in the folder `home`: a new one, or
    /// the one that was left there. Where instructions waited, they count as followed now.
    ///
    /// # Errors
    /// When the ledger that is there cannot be used.
    pub fn open(ground: &'g G, home: &Path, limits: Limits, session: &str) -> Result<Self, LedgerError> {
        let mut ledger = Ledger::load(home)?.unwrap_or_else(|| Ledger::new(session));
        ledger.stop = ledger.stop.filter(|stop| *stop != Stop::AwaitingFix);
        if let Some(current) = &mut ledger.current {
            current.taken_up = true;
        }
        Ok(Self { ground, home: home.to_path_buf(), limits, ledger })
    }

    /// What it has done so far.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Goes on to the end, or to where somebody has to follow instructions.
    ///
    /// # Errors
    /// When a look or the suite's part of a repair fails; the ledger is as after the last step.
    pub async fn run(mut self) -> Result<Ledger, Failure> {
        while self.advance().await? {}
        Ok(self.ledger)
    }

    /// Does one step and saves; tells whether there is another to do now.
    ///
    /// # Errors
    /// As [`FixLoop::run`].
    pub async fn advance(&mut self) -> Result<bool, Failure> {
        let next = match self.ledger.step {
            Step::Discover => self.discover().await?,
            Step::Instruct => self.instruct()?,
            Step::Apply => self.apply().await?,
            Step::Verify => self.verify().await?,
            Step::Regress => self.regress().await?,
            Step::Settle => self.settle().await?,
            Step::Ended => return Ok(false),
        };
        self.ledger.step = next;
        self.ledger.save(&self.home)?;
        if next == Step::Ended && self.home.join(BEST).exists() {
            fs::remove_dir_all(self.home.join(BEST))?;
        }
        Ok(next != Step::Ended && self.ledger.stop != Some(Stop::AwaitingFix))
    }

    async fn discover(&mut self) -> Result<Step, Failure> {
        let look = self.ground.look().await?;
        self.ledger.catalogue.absorb(&look.symptoms, 0, Some(Utc::now())).map_err(Failure::broken)?;
        self.ledger.first = self.ledger.catalogue.count();
        self.write_snapshot(1, When::Before, &look)?;
        self.note_score(0, look.score)?;
        Ok(Step::Instruct)
    }

    /// Stops, or chooses what is attempted and writes the instructions.
    fn instruct(&mut self) -> Result<Step, Failure> {
        let figures = self.ledger.figures();
        let standing = self.ledger.standing(&figures);
        let allowed = self.limits.passes_allowed(&standing);
        if let Some(stop) = self.limits.stop(&standing) {
            self.ledger.stop = Some(stop);
            return Ok(Step::Settle);
        }
        let number = u32::try_from(figures.len()).unwrap_or(u32::MAX).saturating_add(1);
        if number > self.limits.passes && number <= allowed {
            self.note(format!("pass {number} of {allowed}: convergence is below 0.70 after three passes"));
        }
        let chosen = self.choose();
        if chosen.is_empty() {
            self.ledger.stop = Some(Stop::NoMeans);
            return Ok(Step::Settle);
        }
        if number > 1 {
            let before = read_snapshot(&snapshot_file(&self.home, number - 1, When::After))?;
            atomic::write_json(&snapshot_file(&self.home, number, When::Before), &before)?;
        }
        let mut items = BTreeMap::new();
        for (target, chosen) in chosen {
            let text = render(&self.ledger.session, number, &target, &chosen);
            atomic::write(&self.instructions(number, &target), text)?;
            items.insert(target, chosen.iter().map(|item| item.finding).collect());
        }
        let started_at = Utc::now();
        self.ledger.current = Some(Current {
            number,
            started_at,
            items,
            applied: BTreeMap::new(),
            resolved: Vec::new(),
            taken_up: false,
        });
        Ok(Step::Apply)
    }

    /// What is attempted now, by target: the targets whose turn comes first. What nobody can
    /// repair stays open with that reason.
    fn choose(&mut self) -> BTreeMap<String, Vec<Item>> {
        let mut turns: BTreeMap<u8, BTreeMap<String, Vec<Item>>> = BTreeMap::new();
        for entry in self.ledger.catalogue.entries.iter_mut().filter(|entry| entry.is_open()) {
            if entry.finding.priority == Priority::P3 {
                continue;
            }
            match self.ground.turn(&entry.target) {
                None if entry.target.is_empty() => entry.reason = "nobody is known who could repair it".to_owned(),
                None => entry.reason = format!("nobody is there who could repair {}", entry.target),
                Some(turn) => {
                    turns.entry(turn).or_default().entry(entry.target.clone()).or_default().push(entry.item());
                }
            }
        }
        let first = turns.into_values().next().unwrap_or_default();
        first.into_iter().map(|(target, items)| (target, listed(&items).into_iter().cloned().collect())).collect()
    }

    fn instructions(&self, number: u32, target: &str) -> PathBuf {
        self.home.join(INSTRUCTIONS).join(format!("pass_{number}")).join(target).join("FIX_INSTRUCTIONS.md")
    }

    async fn apply(&mut self) -> Result<Step, Failure> {
        let current = self.current()?.clone();
        for target in current.items.keys().filter(|target| !current.applied.contains_key(*target)) {
            let applied = self.ground.apply(target, &self.instructions(current.number, target)).await?;
            self.current()?.applied.insert(target.clone(), applied);
            self.ledger.save(&self.home)?;
        }
        let current = self.current()?.clone();
        for (target, applied) in &current.applied {
            if *applied != Applied::Awaiting {
                continue;
            }
            self.ledger.stop = Some(Stop::AwaitingFix);
            for id in current.items.get(target).into_iter().flatten() {
                if let Some(entry) = self.ledger.catalogue.get_mut(*id) {
                    entry.reason = format!("awaiting fix: no fix command is configured for {target}");
                }
            }
        }
        Ok(Step::Verify)
    }

    /// Re-runs just the scans and tests that had found what was attempted.
    async fn verify(&mut self) -> Result<Step, Failure> {
        let current = self.current()?.clone();
        let attempted: Vec<FindingId> = current.items.values().flatten().copied().collect();
        let mut keys = BTreeSet::new();
        for (target, ids) in &current.items {
            let worked = matches!(current.applied.get(target), Some(Applied::Done { .. }));
            for id in ids {
                let Some(entry) = self.ledger.catalogue.get_mut(*id) else { continue };
                entry.attempts += u32::from(worked);
                keys.extend(entry.symptoms.iter().cloned());
            }
        }
        let gone = self.ground.gone(&keys).await?;
        let resolved = self.ledger.catalogue.resolved(&attempted, &gone);
        self.current()?.resolved = resolved;
        Ok(Step::Regress)
    }

    /// The full set, compared with the one before; then the figures of the pass.
    async fn regress(&mut self) -> Result<Step, Failure> {
        let current = self.current()?.clone();
        let number = current.number;
        let look = self.ground.look().await?;
        let before = read_snapshot(&snapshot_file(&self.home, number, When::Before))?;
        let after = look.snapshot();
        let broken = RegressionDetails::between(&before, &after, &self.ledger.ever_fixed);
        self.ledger.ever_fixed.extend(before.places().difference(&after.places()).cloned());
        self.write_snapshot(number, When::After, &look)?;
        let new = self.take_in(&look, number, &current.resolved)?;
        let pass = self.figures(&current, broken, &new, look.score);
        self.ledger.passes.push(pass);
        self.ledger.current = None;
        self.reassess(&current);
        self.note_score(number, look.score)?;
        Ok(Step::Instruct)
    }

    /// Brings the catalogue to what a full look shows; gives the new findings. Only now is fixed what
    /// was `resolved`: a pass that ends in the middle has fixed nothing.
    fn take_in(&mut self, look: &Look, number: u32, resolved: &[FindingId]) -> Result<Vec<FindingId>, Failure> {
        let catalogue = &mut self.ledger.catalogue;
        let new = catalogue.absorb(&look.symptoms, number, Some(Utc::now())).map_err(Failure::broken)?;
        let verified = format!("the scans and tests that had found it, and the full set, in pass {number}");
        catalogue.settle(resolved.iter().copied(), &look.symptoms, number, &verified);
        let open: Vec<_> = catalogue.open().map(|entry| entry.finding.finding_id).collect();
        catalogue.settle(open, &look.symptoms, number, &format!("the full set of pass {number}"));
        Ok(new)
    }

    fn figures(&self, current: &Current, broken: RegressionDetails, new: &[FindingId], score: Option<f64>) -> Pass {
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let catalogue = &self.ledger.catalogue;
        let is_fixed = |id: &&FindingId| catalogue.get(**id).is_some_and(|entry| !entry.is_open());
        // What the full set shows again was not resolved.
        let fixed: Vec<_> = current.resolved.iter().filter(is_fixed).copied().collect();
        let changed = |target: &String| match current.applied.get(target) {
            Some(Applied::Done { changed, .. }) => !changed.is_empty(),
            Some(Applied::Awaiting) | None => false,
        };
        let items = current.items.iter().flat_map(|(target, ids)| ids.iter().map(move |id| (target, id)));
        let applied = items.filter(|(target, id)| changed(target) || fixed.contains(id)).count();
        let targeted = count(current.items.values().map(Vec::len).sum());
        let resolved = count(fixed.len());
        let costs = current.applied.values().filter_map(|applied| match applied {
            Applied::Done { cost, .. } => *cost,
            Applied::Awaiting => None,
        });
        Pass {
            figures: FixPass {
                pass_number: current.number,
                targeted,
                applied: count(applied),
                resolved,
                failed: targeted - resolved,
                regressions: count(broken.count()),
                new_defects: count(new.len()),
                effectiveness: ratio(resolved, targeted),
                score_before: self.ledger.score,
                score_after: score,
                cost: costs.reduce(|sum, cost| sum + cost),
                // A pass that waited for somebody, or was taken up again, took no time of its own.
                seconds: (!current.waited()).then(|| (Utc::now() - current.started_at).as_seconds_f64()),
            },
            started_at: current.started_at,
            items: current.items.clone(),
            applied_by: current.applied.clone(),
            fixed,
            broken,
            discovered: Open::of(new.iter().filter_map(|id| catalogue.get(*id)).map(|entry| entry.finding.priority)),
            convergence: self.ledger.convergence(),
        }
    }

    /// What failed often is judged anew.
    fn reassess(&mut self, current: &Current) {
        let mut notes = Vec::new();
        for id in current.items.values().flatten() {
            let Some(entry) = self.ledger.catalogue.get_mut(*id).filter(|entry| entry.is_open()) else { continue };
            if entry.attempts == ATTEMPTS_TO_CLASSIFY {
                entry.classify_again();
                let (priority, branch) = (entry.finding.priority, &entry.branch);
                notes.push(format!("{id}: two attempts failed; classified again as {priority} ({branch})"));
            }
            if entry.attempts >= ATTEMPTS_TO_DOWNGRADE && entry.finding.priority == Priority::P1 {
                if entry.workaround.is_empty() {
                    entry.workaround = format!("do without what {} should do here", entry.finding.component);
                }
                entry.finding.priority = Priority::P2;
                entry.branch.push_str("; P2 after three attempts");
                notes.push(format!("{id}: three attempts failed; from P1 to P2, workaround: {}", entry.workaround));
            }
        }
        self.ledger.notes.extend(notes);
    }

    /// Brings the best state back when the last pass lowered the score.
    async fn settle(&mut self) -> Result<Step, Failure> {
        let kept = self.home.join(BEST);
        let fell = self.ledger.passes.last().is_some_and(|pass| pass.figures.score_delta().is_some_and(|it| it < 0.0));
        let best = self.ledger.best.filter(|(_, score)| self.ledger.score.is_some_and(|last| last < *score));
        if let (true, Some((pass, score)), false) = (fell, best, self.ledger.restored) {
            let last = self.ledger.score.unwrap_or_default();
            if self.ground.restore(&kept)? {
                self.note(format!("the last pass lowered the score to {last:.2}: the state after pass {pass} ({score:.2}) was restored"));
                let look = self.ground.look().await?;
                let number = u32::try_from(self.ledger.passes.len()).unwrap_or(u32::MAX);
                self.take_in(&look, number, &[])?;
                self.ledger.score = look.score;
                self.ledger.restored = true;
            } else {
                self.note(format!(
                    "the last pass lowered the score to {last:.2}; the state after pass {pass} ({score:.2}) is not at hand to be restored"
                ));
            }
        }
        Ok(Step::Ended)
    }

    /// Notes the score after pass `number` and keeps the state when it is the best.
    fn note_score(&mut self, number: u32, score: Option<f64>) -> io::Result<()> {
        self.ledger.score = score;
        let Some(score) = score else { return Ok(()) };
        if self.ledger.best.is_none_or(|(_, best)| score > best) {
            self.ledger.best = Some((number, score));
            let place = self.home.join(BEST);
            if place.exists() {
                fs::remove_dir_all(&place)?;
            }
            fs::create_dir_all(&place)?;
            self.ground.keep(&place)?;
        }
        Ok(())
    }

    fn write_snapshot(&self, number: u32, when: When, look: &Look) -> Verdict {
        Ok(atomic::write_json(&snapshot_file(&self.home, number, when), &look.snapshot())?)
    }

    fn note(&mut self, text: String) {
        self.ledger.notes.push(text);
    }

    fn current(&mut self) -> Result<&mut Current, Failure> {
        let lost = || Failure::broken("the ledger of the fix passes has lost its current pass");
        self.ledger.current.as_mut().ok_or_else(lost)
    }
}

#[cfg(test)]
#[path = "passes_tests.rs"]
mod tests;
