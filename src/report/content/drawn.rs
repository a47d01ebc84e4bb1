//! The pictures of a report, in the order in which its sections show them.

use super::super::pictures::palette::Palette;
use super::super::pictures::{self, Picture};
use crate::results::analysis::Analysis;
use crate::results::ranking::Ranking;

/// Bytes of all drawings and their tables at most, as long as what is pale can be left out.
const MOST_BYTES: usize = 1_500_000;

/// Pictures that grow with the workloads and their cases.
const MANY: [&str; 3] = ["distribution", "turns", "ladder"];

/// Every picture that there is something to draw for, or the sentence in its place. Where
/// all of them together would be too large for a page, distributions, turns and the load
/// ladder are of the named configurations alone, and their captions say so.
pub fn pictures_of(ranking: &Ranking, analysis: &Analysis) -> Vec<Picture> {
    let palette = Palette::new(ranking);
    let all = drawn(ranking, analysis, &palette);
    if all.iter().map(size).sum::<usize>() <= MOST_BYTES {
        return all;
    }
    let mut all = drawn(ranking, &named(analysis, &palette), &palette);
    let many = |it: &&mut Picture| it.svg.is_some() && MANY.iter().any(|id| it.id.starts_with(id));
    for picture in all.iter_mut().filter(many) {
        picture
            .caption
            .push_str(" The named configurations alone: all would be too many for a page.");
    }
    all
}

fn size(picture: &Picture) -> usize {
    let svg = picture.svg.as_ref().map_or(0, |it| it.0.len());
    svg + picture.table.iter().flatten().map(|it| it.len() + "<td></td>".len()).sum::<usize>()
}

/// The same without the distributions, turns and steps of configurations that are not named.
fn named(analysis: &Analysis, palette: &Palette) -> Analysis {
    let mut analysis = analysis.clone();
    let is_named = |configuration: usize| palette.look(configuration).named;
    for distribution in &mut analysis.distributions {
        distribution.curves.retain(|it| is_named(it.configuration));
    }
    if let Some(turns) = &mut analysis.turns {
        turns.lines.retain(|it| is_named(it.configuration));
    }
    if let Some(ladder) = &mut analysis.ladder {
        ladder.paths.retain(|it| is_named(it.configuration));
    }
    analysis
}

fn drawn(ranking: &Ranking, analysis: &Analysis, palette: &Palette) -> Vec<Picture> {
    let mut all = vec![pictures::ranking(analysis, ranking)];
    all.extend(pictures::effects(analysis, ranking));
    all.extend(pictures::pareto(analysis, ranking));
    all.push(pictures::hits(analysis, ranking));
    all.extend(pictures::distributions::pictures(&analysis.distributions, ranking, palette));
    all.extend(pictures::turns::picture_of(analysis.turns.as_ref(), ranking, palette));
    all.extend(pictures::ladder(analysis, ranking));
    all.push(pictures::course::night(&analysis.course, ranking, palette));
    all.push(pictures::course::timeline(&analysis.course, ranking, palette));
    all
}

#[cfg(test)]
mod tests {
    use super::super::super::pictures::fixture::made_up;
    use super::*;
    use crate::results::analysis::{Curve, Distribution};

    #[test]
    fn with_many_cases_only_the_named_configurations_are_drawn_and_the_captions_say_so() {
        let (mut analysis, ranking) = made_up(200);
        let few = pictures_of(&ranking, &analysis);
        assert!(!few.iter().any(|it| it.caption.contains("too many for a page")));
        let points: Vec<(f64, f64)> =
            (1..=120).map(|at| (f64::from(at) * 1.37, f64::from(at) / 120.0)).collect();
        let curve = |configuration| Curve {
            configuration,
            requests: 500,
            points: points.clone(),
            p50: 80.0,
            p95: Some(150.0),
        };
        analysis.distributions = (0..16)
            .map(|case| Distribution {
                workload: "load".to_owned(),
                case: format!("concurrency={case}"),
                quantity: "time to first token",
                unit: "ms",
                curves: (0..200).map(curve).collect(),
            })
            .collect();
        let many = pictures_of(&ranking, &analysis);
        let bytes =
            many.iter().filter_map(|it| it.svg.as_ref()).map(|it| it.0.len()).sum::<usize>();
        assert!(bytes < 1_600_000, "{bytes} bytes");
        let cut = many.iter().filter(|it| it.id.starts_with("distribution"));
        for picture in cut {
            assert!(picture.caption.contains("too many for a page"), "{}", picture.caption);
            assert!((2..=9).contains(&picture.table.len()), "{} rows", picture.table.len());
        }
    }
}
