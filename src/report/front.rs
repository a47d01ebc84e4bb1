//! The Pareto front of several objectives in words: who is on it surely, who by the means
//! alone, and how many more are not shown to be off it.

use super::spoken;
use crate::results::front::{Front, FrontPlace};

/// Names that are written out.
const NAMES: usize = 3;

/// The sentences below the result.
pub(super) fn sentences(front: &Front) -> Vec<String> {
    let metrics: Vec<String> =
        front.objectives.iter().map(|it| spoken::metric(&it.metric)).collect();
    let what = metrics.join(" and ");
    let (surely, by_means) = (front.names(FrontPlace::Surely), front.names(FrontPlace::ByMeans));
    let mut sentences = vec![match (surely.as_slice(), by_means.as_slice()) {
        ([], by_means) => format!("On the front of {what} by means: {}.", listed(by_means)),
        (surely, _) => format!("Surely on the front of {what}: {}.", listed(surely)),
    }];
    if !surely.is_empty() && !by_means.is_empty() {
        sentences.push(format!("By means also {}.", listed(&by_means)));
    }
    match front.names(FrontPlace::Open).len() {
        0 => {}
        1 => sentences.push("1 other is not shown to be off it.".to_owned()),
        open => sentences.push(format!("{open} others are not shown to be off it.")),
    }
    sentences
}

fn listed(names: &[&str]) -> String {
    let shown: Vec<String> = names.iter().take(NAMES).map(|it| spoken::name_of(it)).collect();
    match names.len().saturating_sub(NAMES) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}
