//! The pictures of a report, in the order in which its sections show them.

use super::super::pictures::palette::Palette;
use super::super::pictures::{self, Picture};
use crate::results::analysis::Analysis;
use crate::results::ranking::Ranking;

/// Every picture that there is something to draw for, or the sentence in its place.
pub fn pictures_of(ranking: &Ranking, analysis: &Analysis) -> Vec<Picture> {
    let palette = Palette::new(ranking);
    let mut all = vec![pictures::ranking(analysis, ranking)];
    all.extend(pictures::effects(analysis, ranking));
    all.extend(pictures::pareto(analysis, ranking));
    all.push(pictures::hits(analysis, ranking));
    all.extend(pictures::distributions::pictures(&analysis.distributions, ranking, &palette));
    all.extend(pictures::turns::picture_of(analysis.turns.as_ref(), ranking, &palette));
    all.extend(pictures::ladder(analysis, ranking));
    all.push(pictures::course::night(&analysis.course, ranking, &palette));
    all.push(pictures::course::timeline(&analysis.course, ranking, &palette));
    all
}
