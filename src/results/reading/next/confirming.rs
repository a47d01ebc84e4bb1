//! What to do about a confirmation: begin it, go on with it, begin it anew, or use what it showed.
//! Which of these is asked for is decided in the parent.

use super::{After, Change, NextStep, further};
use crate::metric::Scale;
use crate::results::confirmable::is_to_be_named;
use crate::results::confirmed::ConfirmedGain;
use crate::results::preference::within_bounds;
use crate::results::ranked::RankedConfiguration;
use crate::strategy::confirm::Ended;

impl After<'_> {
    /// Without ratios only the ranking itself can become more precise. What chose its
    /// launches and ended before it was sure enough may choose better with more of them.
    pub(super) fn confirm(&self) -> Vec<NextStep> {
        if self.ranking.scale != Scale::Ratios {
            return self.again(self.more());
        }
        let pending = self.pending();
        let mut rows = self.ranking.rows.iter();
        let named = rows.find(|row| self.ranking.is_candidate(row));
        let named = named.filter(|row| is_to_be_named(self.ranking, row));
        let confirm = NextStep::Confirm {
            run: self.run(),
            configuration: named.map(|row| row.name.clone()),
            baseline: pending.and_then(|it| self.other_baseline(it)),
            claim: pending.and_then(|it| self.unusual(it.claim)),
            hours: self.place.confirm,
            goes_on: pending.is_some(),
            again: false,
        };
        let longer = if self.is_cut() { self.again(self.more()) } else { Vec::new() };
        std::iter::once(confirm).chain(longer).collect()
    }

    /// A confirmation that was begun and is not over.
    pub(super) fn pending(&self) -> Option<&ConfirmedGain> {
        self.begun.filter(|it| it.can_go_on())
    }

    /// What to do where a confirmation ended without a result: what failed in it is corrected
    /// first, or another configuration is what it is compared with.
    pub(super) fn anew(&self) -> Vec<NextStep> {
        let Some(gain) = self.begun.filter(|it| it.ended != Some(Ended::NotPositive)) else {
            return self.again(self.more());
        };
        let rows = || self.ranking.rows.iter();
        let candidate = rows().find(|row| row.name == gain.candidate);
        let named = candidate
            .filter(|row| !self.ranking.is_candidate(row) || is_to_be_named(self.ranking, row));
        let confirm = |baseline: Option<String>, again| NextStep::Confirm {
            run: self.run(),
            configuration: named.map(|row| row.name.clone()),
            baseline,
            claim: self.unusual(gain.claim),
            hours: None,
            goes_on: false,
            again,
        };
        let change = |name: &String| NextStep::Change {
            change: Change::Values { configuration: name.clone() },
        };
        let mut steps: Vec<NextStep> = gain.without_values.iter().map(change).collect();
        // What would be refused is no advice: it begins with another sweep then.
        if gain.without_values.iter().any(|it| self.place.not_launched.contains(it)) {
            steps.push(NextStep::Sweep { grid: self.place.grid.clone() });
        } else {
            steps.push(confirm(self.other_baseline(gain), true));
        }
        let ranked = rows().filter(|row| row.eligible);
        let others = ranked.filter(|row| row.name != gain.candidate && row.name != gain.baseline);
        let other = others.map(|row| &row.name).find(|it| !self.place.not_launched.contains(it));
        if gain.without_values.contains(&gain.baseline) {
            steps.extend(other.map(|name| confirm(Some(name.clone()), false)));
        }
        steps
    }

    /// What is confirmed is deployed. Where a bound is open, more launches of the same two come
    /// first, as far as there may be more: they show both, the gain and the bound, better.
    pub(super) fn confirmed(&self, is_open: bool) -> Vec<NextStep> {
        if let Some((gain, claim)) = self.confirmed.filter(|_| is_open).and_then(further) {
            let candidate = self.ranking.decision.as_ref().map(|it| &it.candidate.configuration);
            let other = Some(&gain.candidate).filter(|name| Some(*name) != candidate);
            return vec![NextStep::Confirm {
                run: self.run(),
                configuration: other.cloned(),
                baseline: self.other_baseline(gain),
                claim: self.unusual(claim),
                hours: None,
                goes_on: true,
                again: false,
            }];
        }
        if self.manifest.engine == "simulated" {
            vec![NextStep::UseFlags]
        } else {
            vec![NextStep::Apply { run: self.run() }]
        }
    }

    /// What a confirmation compares with, where the grid does not say so.
    pub(super) fn other_baseline(&self, gain: &ConfirmedGain) -> Option<String> {
        (!self.ranking.is_baseline(&gain.baseline)).then(|| gain.baseline.clone())
    }

    /// The next best one that is within all bounds and has not been confirmed, where the
    /// confirmed one is not to be used; a change of the grid where there is none.
    pub(super) fn instead_of(&self, broken: &str, without: Change) -> Vec<NextStep> {
        let goal = self.ranking.objective.goal;
        let is_fine = |row: &&RankedConfiguration| {
            let better = row.effect().is_some_and(|it| it.is_better(goal));
            let is_new = row.name != broken && self.ranking.confirmed_of(&row.name).is_none();
            row.eligible && is_new && better && within_bounds(row)
        };
        let fine = || self.ranking.rows.iter().filter(is_fine);
        let next = fine().find(|row| self.ranking.is_in_claims(row)).or_else(|| fine().next());
        let Some(next) = next else { return self.again(without) };
        vec![NextStep::Confirm {
            run: self.run(),
            configuration: Some(next.name.clone()),
            baseline: self.confirmed.and_then(|it| self.other_baseline(it)),
            claim: None,
            hours: None,
            goes_on: false,
            again: false,
        }]
    }
}
