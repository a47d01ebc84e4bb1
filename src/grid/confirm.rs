//! `confirm:` of a grid: whether a sweep goes on with a confirmation, for which claim, and which
//! share of the budget is kept for it. What a confirmation is is decided in `strategy`, which
//! two configurations it is about after the sweep. Pure.

use serde::{Deserialize, Serialize};

use super::Grid;
use super::budget::Budget;
use super::error::Findings;
use super::fields::Fields;
use super::node::{Content, Node, Span};
use crate::metric::{MetricRef, Scale};
use crate::strategy::confirm::CLAIM;

/// Options of `confirm`.
pub(super) const OPTIONS: [&str; 2] = ["claim", "share"];
/// The claim at the least and at the most, as fractions.
pub(super) const CLAIMS: (f64, f64) = (0.01, 1.0);
/// The share at the least and at the most, as fractions.
pub(super) const SHARES: (f64, f64) = (0.05, 0.9);
/// The share where none is named, as a fraction.
const SHARE: f64 = 0.25;

/// The confirmation that a sweep goes on with.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Confirm {
    /// The interval's half-width is to be at most half of this fraction.
    pub claim: f64,
    /// Fraction of each part of the budget that is kept for it.
    pub share: f64,
}

/// Why a sweep has nothing to confirm, as far as its grid says so; `None` where it may have.
pub fn nothing_to_confirm(
    baseline: Option<&str>,
    configurations: usize,
    objective: &MetricRef,
) -> Option<&'static str> {
    if baseline.is_none() {
        Some("`confirm` compares with a baseline, and the grid names none: name a `baseline`")
    } else if configurations == 1 {
        Some("`confirm` compares with the baseline, and there is no other configuration")
    } else if !has_ratio(objective) {
        Some("`confirm` needs a ratio, and the objective is a share or a count: it has none")
    } else {
        None
    }
}

impl Grid {
    /// The same of this grid.
    pub(super) fn nothing_to_confirm(&self) -> Option<&'static str> {
        let (baseline, count) = (self.baseline.as_deref(), self.configurations.len());
        nothing_to_confirm(baseline, count, &self.objective.metric)
    }
}

/// Whether configurations may be compared by the ratio of a metric.
pub(super) fn has_ratio(metric: &MetricRef) -> bool {
    let scale = metric.known().map(|it| it.scale);
    !matches!(scale, Some(Scale::Events | Scale::Share(_)))
}

impl Default for Confirm {
    fn default() -> Self {
        Self { claim: CLAIM, share: SHARE }
    }
}

/// What may be spent, in all of a budget's parts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Limits {
    /// Seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u64>,
    /// What else.
    #[serde(flatten)]
    pub besides: Budget,
}

impl Limits {
    /// Whether nothing is limited.
    pub fn is_empty(&self) -> bool {
        self.seconds.is_none() && self.besides.is_empty()
    }

    /// What the strategy may spend of it: all but what is kept for the confirmation.
    #[must_use]
    pub fn of_strategy(self, confirm: Option<Confirm>) -> Self {
        let Some(confirm) = confirm else { return self };
        let kept = self.reserve(confirm);
        let less = |whole: Option<u64>, kept: Option<u64>| {
            whole.zip(kept).map(|(whole, kept)| whole.saturating_sub(kept))
        };
        let launches = self.besides.launches.zip(kept.besides.launches);
        let hours = self.besides.gpu_hours.zip(kept.besides.gpu_hours);
        Self {
            seconds: less(self.seconds, kept.seconds),
            besides: Budget {
                launches: launches.map(|(whole, kept)| whole.saturating_sub(kept)),
                // Decimal fractions have rounding errors, which nobody wants to read.
                gpu_hours: hours.map(|(whole, kept)| ((whole - kept) * 1e6).round() / 1e6),
            },
        }
    }

    /// What of it is kept for the confirmation: the share of each part. Whole numbers are
    /// rounded up, and the strategy keeps one.
    #[must_use]
    pub fn reserve(self, confirm: Confirm) -> Self {
        // A product of decimal fractions may be a rounding error above a whole number.
        let share = |whole: f64| (whole * confirm.share - 1e-9).ceil().max(0.0);
        let kept = |whole: u64| (share(whole as f64) as u64).min(whole.saturating_sub(1));
        let launches = self.besides.launches.map(|whole| {
            let kept = kept(u64::from(whole));
            u32::try_from(kept).unwrap_or(whole)
        });
        Self {
            seconds: self.seconds.map(kept),
            besides: Budget {
                launches,
                gpu_hours: self.besides.gpu_hours.map(|hours| hours * confirm.share),
            },
        }
    }
}

/// `true`, `false`, or a mapping of `claim` and `share`.
pub(super) fn read(
    node: &Node,
    key: &Span,
    has_budget: bool,
    findings: &mut Findings,
) -> Option<Confirm> {
    match &node.content {
        Content::Bool(asked) => return asked.then(Confirm::default),
        Content::Map(_) => {}
        _ => {
            let message =
                format!("`confirm` must be true, false or a mapping, not {}", node.describe());
            findings
                .error(&node.span, message)
                .help("write `confirm: true`, or for example `confirm: {claim: 10%, share: 25%}`");
            return None;
        }
    }
    let fields = Fields::of(node, "`confirm`", key, &OPTIONS, findings)?;
    if let Some((share, _)) = fields.given("share").filter(|_| !has_budget) {
        let message = "`share` has no effect: the grid has no `budget` of which it would be kept";
        findings.warning(Some(&share.span), message.to_owned());
    }
    let default = Confirm::default();
    Some(Confirm {
        claim: fraction(&fields, "claim", CLAIMS, findings).unwrap_or(default.claim),
        share: fraction(&fields, "share", SHARES, findings).unwrap_or(default.share),
    })
}

/// A fraction: `10%`, or `0.1`.
fn fraction(
    fields: &Fields<'_>,
    name: &str,
    (least, most): (f64, f64),
    findings: &mut Findings,
) -> Option<f64> {
    let (_, node) = fields.given(name)?;
    let value = match &node.content {
        // `1` may mean 1 % or all of it: whoever means either writes the sign.
        Content::Float(number) if *number < 1.0 => Some(*number),
        Content::Text(text) => {
            let number = text.strip_suffix('%').map(str::trim_end);
            let is_plain = |it: &&str| {
                it.starts_with(|first| matches!(first, '1'..='9'))
                    && it.ends_with(|last: char| last.is_ascii_digit())
                    && it.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
            };
            number.filter(is_plain).and_then(|it| it.parse::<f64>().ok()).map(|it| it / 100.0)
        }
        _ => None,
    };
    let fits = value.filter(|it| (least..=most).contains(it));
    if fits.is_none() {
        let (low, high) = (least * 100.0, most * 100.0);
        let message =
            format!("`{name}` must be a share from {low}% to {high}%, not {}", node.describe());
        let example = if name == "claim" { "`10%` or `0.1`" } else { "`25%` or `0.25`" };
        findings.error(&node.span, message).help(format!("write for example {example}"));
    }
    fits
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_quarter_is_kept_of_each_part_and_without_a_confirmation_nothing() {
        let besides = Budget { launches: Some(42), gpu_hours: Some(16.0) };
        let whole = Limits { seconds: Some(8 * 3600), besides };
        let reserve = whole.reserve(Confirm::default());
        assert_eq!(reserve.seconds, Some(2 * 3600));
        assert_eq!(reserve.besides, Budget { launches: Some(11), gpu_hours: Some(4.0) });
        let strategy = whole.of_strategy(Some(Confirm::default()));
        assert_eq!(strategy.seconds, Some(6 * 3600));
        assert_eq!(strategy.besides, Budget { launches: Some(31), gpu_hours: Some(12.0) });
        assert_eq!(whole.of_strategy(None), whole);
        assert!(Limits::default().reserve(Confirm::default()).is_empty());
        let tenth = Confirm { share: 0.1, ..Confirm::default() };
        let of = |launches| Limits {
            seconds: None,
            besides: Budget { launches: Some(launches), gpu_hours: None },
        };
        assert_eq!(of(30).reserve(tenth), of(3), "no rounding error is a launch");
        assert_eq!(of(1).of_strategy(Some(tenth)), of(1), "the strategy keeps one");
    }

    proptest! {
        #[test]
        fn both_parts_are_the_whole_and_neither_has_more_than_its_share(
            seconds in proptest::option::of(1_u64..1_000_000_000),
            launches in proptest::option::of(1_u32..1_000_000),
            hours in proptest::option::of(0.01_f64..1e6),
            share in SHARES.0..=SHARES.1,
        ) {
            let whole =
                Limits { seconds, besides: Budget { launches, gpu_hours: hours } };
            let confirm = Confirm { share, ..Confirm::default() };
            let (own, kept) = (whole.of_strategy(Some(confirm)), whole.reserve(confirm));
            prop_assert_eq!(own.seconds.is_some(), seconds.is_some());
            prop_assert_eq!(kept.besides.launches.is_some(), launches.is_some());
            if let Some(all) = seconds {
                let (own, kept) = (own.seconds.unwrap(), kept.seconds.unwrap());
                prop_assert_eq!(own + kept, all);
                prop_assert!(own >= 1);
                prop_assert!(own == 1 || kept as f64 >= share * all as f64 - 1e-6);
                prop_assert!((kept as f64) < share * all as f64 + 1.0);
            }
            if let Some(all) = launches {
                let (own, kept) = (own.besides.launches.unwrap(), kept.besides.launches.unwrap());
                prop_assert_eq!(own + kept, all);
                prop_assert!(own >= 1);
                prop_assert!(own == 1 || f64::from(kept) >= share * f64::from(all) - 1e-6);
                prop_assert!(f64::from(kept) < share * f64::from(all) + 1.0);
            }
            if let Some(all) = hours {
                let (own, kept) = (own.besides.gpu_hours.unwrap(), kept.besides.gpu_hours.unwrap());
                // The strategy's hours are rounded to a millionth.
                prop_assert!((own + kept - all).abs() <= 1e-6 + 1e-9 * all);
                prop_assert!(own > 0.0 && kept > 0.0);
            }
        }
    }
}
