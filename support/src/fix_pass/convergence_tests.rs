use pretty_assertions::assert_eq;
use proptest::{collection::vec, prelude::*};
use rstest::rstest;

use super::*;

fn any_open() -> impl Strategy<Value = Open> {
    (0_u32..20, 0_u32..20, 0_u32..20, 0_u32..20).prop_map(|(p0, p1, p2, p3)| Open { p0, p1, p2, p3 })
}

fn any_pass() -> impl Strategy<Value = FixPass> {
    (0_u32..12, 0_u32..12, 0_u32..12, 0_u32..12, 0_u32..6).prop_map(
        |(targeted, applied, resolved, regressions, new)| {
            let targeted = targeted.max(applied).max(resolved);
            FixPass { targeted, applied, resolved, regressions, new_defects: new, ..FixPass::default() }
        },
    )
}

const LIMITS: Limits = Limits { passes: 5, effectiveness_floor: 0.3, regression_ceiling: 0.25, budget: None };

fn standing(passes: &[FixPass], open: Open) -> Standing<'_> {
    Standing { passes, open, workarounds: false, convergence: 0.8, score: None, spent: 0.0 }
}

proptest! {
    #[test]
    fn convergence_is_a_share_and_falls_with_every_defect(first in any_open(), left in any_open()) {
        let share = convergence(first, left);
        prop_assert!((0.0..=1.0).contains(&share));
        for worse in [Open { p0: left.p0 + 1, ..left }, Open { p1: left.p1 + 1, ..left }, Open { p2: left.p2 + 1, ..left }] {
            prop_assert!(convergence(first, worse) <= share);
        }
        prop_assert_eq!(convergence(first, Open { p3: left.p3 + 1, ..left }), share);
    }

    #[test]
    fn no_verdict_of_success_stands_beside_a_blocker(first in any_open(), left in any_open(), soft in any::<bool>()) {
        let stop = soft.then_some(Stop::SoftConvergence);
        let verdict = FixVerdict::of(convergence(first, left), left, stop);
        prop_assert!(left.p0 == 0 || verdict == FixVerdict::NotConverged);
    }

    #[test]
    fn every_loop_ends_within_seven_passes(mut passes in vec(any_pass(), 7..9), open in any_open()) {
        for pass in &mut passes {
            pass.seconds = Some(1.0);
        }
        let at = Standing { convergence: 0.1, ..standing(&passes, open) };
        prop_assert!(LIMITS.stop(&at).is_some());
    }

    #[test]
    fn a_zero_denominator_trips_no_rate_rule(mut passes in vec(any_pass(), 2..4)) {
        let open = Open { p0: 1, ..Open::default() };
        for pass in &mut passes {
            (pass.targeted, pass.applied, pass.resolved) = (0, 0, 0);
        }
        prop_assert_eq!(LIMITS.stop(&standing(&passes, open)), None);
    }
}

#[rstest]
#[case::short(&[10.0, 30.0], false)]
#[case::long(&[100.0, 200.0], true)]
#[case::long_but_alike(&[100.0, 199.0], false)]
#[case::first(&[900.0], false)]
fn a_long_pass_that_doubles_ends_the_loop(#[case] seconds: &[f64], #[case] ends: bool) {
    let pass = |seconds: &f64| FixPass { targeted: 1, resolved: 1, seconds: Some(*seconds), ..FixPass::default() };
    let passes: Vec<_> = seconds.iter().map(pass).collect();
    let stop = LIMITS.stop(&standing(&passes, Open { p0: 1, ..Open::default() }));
    assert_eq!(stop, ends.then_some(Stop::TookTooLong));
}
