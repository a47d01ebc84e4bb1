//! What is said of configurations that are launched no more: why, and since when. Only data;
//! nothing is decided by it.

use std::collections::BTreeMap;

use super::super::{Dropped, Observation, WhyDropped};
use super::before;
use super::blocks::Blocks;
use super::eligible::Eligible;
use super::race::Race;
use super::standing::{Rival, Standing};

/// Those that are out, and after the first block those that are clearly behind.
pub(super) fn dropped(blocks: &Blocks, race: &Race, observations: &[Observation]) -> Vec<Dropped> {
    let known: Vec<&Observation> = observations.iter().collect();
    let mut dropped = Vec::new();
    for (configuration, eligible) in race.eligible(&known).into_iter().enumerate() {
        let own = known.iter().filter(|it| it.configuration == configuration);
        if let (Eligible::No(out), Some(after_trial)) = (eligible, own.map(|it| it.trial).max()) {
            dropped.push(Dropped { configuration, after_trial, why: out.why() });
        }
    }
    dropped.extend(behind(blocks, race, &known));
    dropped.sort_by_key(|it| it.configuration);
    dropped
}

fn behind(blocks: &Blocks, race: &Race, known: &[&Observation]) -> Vec<Dropped> {
    let Some(last) = known.iter().map(|it| it.trial).max() else { return Vec::new() };
    if last + 1 < blocks.screened() {
        return Vec::new();
    }
    let Some(now) = race.standing(known) else { return Vec::new() };
    let duels = blocks.second(race, known).end();
    let eligible = race.eligible(known);
    let mut then: BTreeMap<u32, Option<Standing>> = BTreeMap::new();
    let mut dropped = Vec::new();
    for (configuration, eligible) in eligible.iter().enumerate() {
        let own = known.iter().filter(|it| it.configuration == configuration);
        let Some(latest) = own.map(|it| it.trial).max() else { continue };
        // One that is not even fitted is farther behind than those that are.
        let is_near = now.rival(configuration).is_some_and(Rival::is_near);
        if !eligible.is_in() || configuration == now.leader || is_near {
            continue;
        }
        let end = stage_end(blocks, duels, latest);
        if end > last + 1 {
            continue;
        }
        let standing = then.entry(end).or_insert_with(|| race.standing(&before(known, end)));
        let at_end = standing.as_ref().and_then(|it| Some((it, it.rival(configuration)?)));
        let at_end = at_end.filter(|(_, rival)| rival.gap > 0.0);
        let (standing, rival, after_trial) = match (at_end, now.rival(configuration)) {
            (Some((standing, rival)), _) => (standing, *rival, end - 1),
            (None, Some(rival)) => (&now, *rival, last),
            (None, None) => continue,
        };
        let (leader, gap, error) = (standing.leader, rival.gap, rival.error);
        dropped.push(Dropped {
            configuration,
            after_trial,
            why: WhyDropped::Behind { leader, gap, error },
        });
    }
    dropped
}

/// The trial after the block or the pair that a trial is part of.
fn stage_end(blocks: &Blocks, duels: u32, trial: u32) -> u32 {
    match trial {
        trial if trial < blocks.opened() => blocks.opened(),
        trial if trial < duels => duels,
        trial => duels + (trial - duels) / 2 * 2 + 2,
    }
}
