//! About how many launches would separate configurations that are not distinguishable: by
//! what launches and repeats of this sweep differed, as a confirmation is planned.

use super::Separation;
use super::source::Source;
use crate::results::confirmable::cost;
use crate::statistics::SIGNIFICANCE;
use crate::strategy::confirm::{Cost, Noise, launches_to_show};

/// Launches of each at most.
const MOST: u32 = 200;
/// Probability with which a difference of the estimated size is to be shown.
const POWER: f64 = 0.8;
/// Pairs at most.
const PAIRS: usize = 12;

/// The pairs of the first ranks, and candidate and baseline; and why there are none.
pub(super) fn separations(source: &Source<'_>) -> (Vec<Separation>, Option<String>) {
    let pairs = pairs(source);
    if pairs.is_empty() {
        return (Vec::new(), None);
    }
    let Some(course) = &source.ranking.course else {
        let why = "how many launches would separate configurations is not known: nothing was \
                   launched twice, or the objective is not compared by ratios";
        return (Vec::new(), Some(why.to_owned()));
    };
    // Launches cost seconds of the journal; a simulated machine lives `pace` in each.
    let pace = source.record.manifest.machine_pace();
    let noise = Noise { drift: course.noise.drift * pace, ..course.noise };
    let made = pairs.into_iter().filter_map(|pair| separation(source, pair, noise));
    (made.collect(), None)
}

fn pairs(source: &Source<'_>) -> Vec<(usize, usize)> {
    let rows = &source.ranking.rows;
    let candidate = source.candidate();
    let mut pairs: Vec<(usize, usize)> = Vec::new();
    if let (Some(candidate), Some(baseline)) = (candidate, source.baseline())
        && candidate != baseline
    {
        pairs.push((candidate, baseline));
    }
    // Rank 1 is the first row.
    let Some(label) = rows.first().and_then(|row| row.rank_label.as_ref()) else { return pairs };
    let tied = (1..rows.len()).filter(|row| rows[*row].rank_label.as_ref() == Some(label));
    for other in tied {
        let known = |pair: &(usize, usize)| *pair == (0, other) || *pair == (other, 0);
        if !pairs.iter().any(known) {
            pairs.push((0, other));
        }
    }
    pairs.truncate(PAIRS);
    pairs
}

fn separation(
    source: &Source<'_>,
    (first, second): (usize, usize),
    noise: Noise,
) -> Option<Separation> {
    let (a, b) = (source.estimate(first, 0)?, source.estimate(second, 0)?);
    let ratio = a.mean / b.mean;
    if !ratio.is_finite() || ratio <= 0.0 {
        return None;
    }
    let names = [first, second].map(|row| source.ranking.rows[row].name.as_str());
    let repeats = (a.repeats + b.repeats).div_ceil((a.launches + b.launches).max(1));
    let have = a.launches.min(b.launches);
    // Where no time is known, the machine is taken as calm between launches.
    let cost = cost(source.record, names).unwrap_or(Cost { boot: 0.0, repeat: 0.0 });
    let repeats = u32::try_from(repeats).unwrap_or(u32::MAX).max(1);
    let asked = (level(source), POWER);
    let launches = launches_to_show(cost, noise, repeats, ratio.ln(), asked, MOST);
    Some(Separation { first, second, ratio, launches: launches.map(|it| it as usize), have })
}

/// The level at which one comparison is shown where all ranked ones are compared with the
/// first, or with the baseline: ranks and claims are adjusted over as many. Equal parts
/// (Bonferroni), since how many of the others will be shown is not known.
fn level(source: &Source<'_>) -> f64 {
    let ranked = source.ranking.rows.iter().filter(|row| row.eligible).count();
    SIGNIFICANCE / ranked.saturating_sub(1).max(1) as f64
}
