//! The ranking as a picture: a dot with its 95 % interval for each configuration, the
//! best on top, a line at production, the tie group as a band, the repeats as ticks.

use maud::{Markup, html};

use super::super::spoken;
use super::axis::{self, Frame};
use super::label::{Align, LINE, text, text_width};
use super::mark::{self, Fill};
use super::palette::Palette;
use super::rows::{Row, Rows};
use super::scale::{Scale, ends};
use super::wording::{begun, metric, names, small, some, spoken_of};
use super::{Drawing, Picture, anchor, picture, px, sentence, titled};
use crate::results::analysis::Analysis;
use crate::results::confirmed::{ConfirmedGain, Standing, Unfit};
use crate::results::number;
use crate::results::ranking::{Estimate, RankedConfiguration, Ranking, RankingVerdict};
use crate::statistics::SIGNIFICANCE;

/// The ranking.
pub fn ranking(analysis: &Analysis, ranking: &Ranking) -> Picture {
    let palette = Palette::new(ranking);
    let title = titled(ranking.simulated, answer(ranking, &palette));
    let drawn: Vec<(usize, &RankedConfiguration, &Estimate)> = ranking
        .rows
        .iter()
        .enumerate()
        .filter_map(|(at, row)| Some((at, row, row.estimates.first()?.as_ref()?)))
        .filter(|(_, _, estimate)| estimate.mean.is_finite())
        .collect();
    if drawn.len() < 2 {
        return sentence("ranking", title);
    }
    let view = View { analysis, ranking, palette, drawn };
    picture("ranking", title, view.caption(), view.table(), |width| view.draw(width))
}

/// What the ranking says, and no more than it carries.
fn answer(ranking: &Ranking, palette: &Palette) -> String {
    let first = match &ranking.verdict {
        verdict @ (RankingVerdict::Nothing { .. } | RankingVerdict::Only { .. }) => {
            return begun(&verdict.to_string(), palette);
        }
        RankingVerdict::Insufficient { .. } => {
            return "Configurations were launched once: no order of them is shown".to_owned();
        }
        RankingVerdict::Unclaimed { leader, claimed_from, .. } => format!(
            "{} has the best mean: launches were chosen, and too few have {claimed_from} for a \
             claim",
            spoken::name_of(leader)
        ),
        RankingVerdict::First { name } => match ranking.chosen.as_ref().map(|it| it.unclaimed) {
            None | Some(0) => {
                format!("{} is distinguishable from all others", spoken::name_of(name))
            }
            Some(few) => format!(
                "{} is distinguishable from all but {} with too few launches for a claim",
                spoken::name_of(name),
                small(few)
            ),
        },
        RankingVerdict::Tie { names, .. } if names.len() == ranked(ranking) => {
            format!("{} configurations are not distinguishable from each other", small(names.len()))
        }
        RankingVerdict::Tie { names, ranks }
            if *ranks == (1..=names.len() as u32).collect::<Vec<_>>() =>
        {
            format!("the first {} are not distinguishable from each other", small(names.len()))
        }
        RankingVerdict::Tie { names, .. } => {
            format!("{} are not distinguishable from the first", small(names.len() - 1))
        }
        RankingVerdict::Undecided { names, .. } if ranking.is_carried() && names.len() > 1 => {
            format!("between {} configurations nothing is decided", small(names.len()))
        }
        RankingVerdict::Undecided { .. } => "the measurement does not carry an order".to_owned(),
    };
    let text = match against_baseline(ranking, palette) {
        Some(against) => format!("{against}; {first}"),
        None => first,
    };
    begun(&text, palette)
}

fn ranked(ranking: &Ranking) -> usize {
    ranking.rows.iter().filter(|row| row.rank.is_some()).count()
}

/// Why one that was confirmed is not to be used, said after its name.
fn refuted(gain: &ConfirmedGain) -> &'static str {
    match &gain.unfit {
        Some(Unfit::GateFailed { .. }) => "failed a gate",
        Some(Unfit::Failing) => "gave no values any more in fresh launches",
        None => "breaks a bound in fresh launches",
    }
}

/// What is shown against the baseline; `None` where it is not ranked.
fn against_baseline(ranking: &Ranking, palette: &Palette) -> Option<String> {
    let (baseline, candidate) = spoken_of(ranking);
    let baseline = baseline.filter(|it| ranking.rows[*it].rank.is_some())?;
    let to = names(palette, &[baseline]);
    if let Some(gain) = candidate.and_then(|it| ranking.confirmed_of(&ranking.rows[it].name)) {
        let name = names(palette, &[candidate?]);
        return Some(match gain.standing() {
            Standing::Confirmed => {
                format!("{name} is better than {to}, confirmed on fresh launches")
            }
            Standing::Unfit | Standing::BreaksABound => format!("{name} {}", refuted(gain)),
            Standing::NotShown | Standing::Unfinished => {
                format!("fresh launches do not confirm that {name} is better than {to}")
            }
        });
    }
    // What is undecided among the others leaves the candidate's claim, and shows nothing of them.
    if matches!(ranking.verdict, RankingVerdict::Undecided { .. }) && ranking.is_carried() {
        let name = names(palette, &[candidate?]);
        return Some(format!("{name} is better than {to}, not confirmed yet"));
    }
    let carried = ranking.is_carried();
    let better = ranking.rows.iter().filter(|row| carried && is_better(row, ranking)).count();
    Some(match better {
        0 => format!("no configuration is shown to be better than {to}"),
        1 => format!("one configuration is better than {to}, not confirmed yet"),
        _ => format!("{} configurations are better than {to}, none confirmed yet", small(better)),
    })
}

/// Whether the difference to the baseline is shown.
fn is_better(row: &RankedConfiguration, ranking: &Ranking) -> bool {
    seems_better(row, ranking) && row.p_baseline.is_some_and(|p| p < SIGNIFICANCE)
}

fn seems_better(row: &RankedConfiguration, ranking: &Ranking) -> bool {
    row.effect().is_some_and(|it| it.is_better(ranking.objective.goal))
}

struct View<'a> {
    analysis: &'a Analysis,
    ranking: &'a Ranking,
    palette: Palette,
    drawn: Vec<(usize, &'a RankedConfiguration, &'a Estimate)>,
}

impl View<'_> {
    fn unit(&self) -> &'static str {
        number::unit(&self.ranking.objective.metric)
    }

    fn caption(&self) -> String {
        let unit = self.unit();
        let unit = if unit.is_empty() { String::new() } else { format!(" in {unit}") };
        let launches: usize = self.drawn.iter().map(|(_, _, it)| it.launches).sum();
        let repeats: usize = self.drawn.iter().map(|(_, _, it)| it.repeats).sum();
        let mut caption = format!(
            "{}{unit}: mean and 95% interval of {} configurations, the best on top; ticks are repeats \
             (n: {}, {}). A hollow mark seems better than the baseline and is not confirmed by fresh launches.",
            metric(&self.ranking.objective.metric),
            self.drawn.len(),
            some(launches, "launch"),
            some(repeats, "repeat"),
        );
        if self.drawn.iter().any(|(_, row, _)| row.rank.is_none()) {
            caption.push_str(" A cross has no rank.");
        }
        let has = |at: &usize| self.drawn.iter().any(|(known, _, _)| known == at);
        let without: Vec<usize> = (0..self.ranking.rows.len()).filter(|at| !has(at)).collect();
        if !without.is_empty() {
            let list = names(&self.palette, &without);
            caption = format!("{caption} Without a figure: {list}.");
        }
        caption
    }

    fn table(&self) -> Vec<Vec<String>> {
        let name = metric(&self.ranking.objective.metric);
        let head = [
            "rank",
            "configuration",
            &super::wording::heading(&name, self.unit()),
            "launches",
            "repeats",
        ];
        let mut head: Vec<String> = head.map(str::to_owned).to_vec();
        head.extend(["compared with the baseline", "confirmed"].map(str::to_owned));
        let rows = self.drawn.iter().map(|(at, row, estimate)| {
            vec![
                row.rank_label.clone().unwrap_or_else(|| "-".to_owned()),
                self.palette.name(*at).to_owned(),
                number::estimate(estimate, ""),
                estimate.launches.to_string(),
                estimate.repeats.to_string(),
                self.compared(row).unwrap_or_else(|| "-".to_owned()),
                self.confirmed(row).to_owned(),
            ]
        });
        [head].into_iter().chain(rows).collect()
    }

    /// `-23% [-33%, -13%] (better)`.
    fn compared(&self, row: &RankedConfiguration) -> Option<String> {
        let objective = &self.ranking.objective;
        let (text, word) = spoken::gain(row.effect()?, objective.goal, &objective.metric);
        Some(text.replace(spoken::GLUE, " ") + word)
    }

    fn confirmed(&self, row: &RankedConfiguration) -> &'static str {
        match self.ranking.confirmed_of(&row.name) {
            Some(gain) if gain.is_confirmed() => "confirmed",
            Some(gain) if gain.is_refuted() => refuted(gain),
            Some(_) => "not confirmed by fresh launches",
            None if seems_better(row, self.ranking) => "not confirmed",
            None => "",
        }
    }

    fn draw(&self, width: f64) -> Drawing {
        let order: Vec<usize> = self.drawn.iter().map(|it| it.0).collect();
        let figures: Vec<String> = self.drawn.iter().map(|it| number::estimate(it.2, "")).collect();
        let rows = Rows::new(width, &order, &self.palette, &figures);
        let values = self.drawn.iter().flat_map(|it| ends(it.2.mean, it.2.interval));
        let repeats = order.iter().flat_map(|at| self.repeats(*at));
        let scale = Scale::positions(values.chain(repeats), rows.frame.across());
        let axis_title = axis::title(&metric(&self.ranking.objective.metric), self.unit(), &scale);
        let body = html! {
            (self.tied(&rows))
            @for row in &rows.all { (rows.line(row)) }
            (self.baseline(&rows.frame, &scale))
            @for (row, ((_, configuration, estimate), figure)) in rows.all.iter().zip(self.drawn.iter().zip(&figures)) {
                (rows.texts(row, &self.palette, figure))
                (self.mark(row, configuration, estimate, &scale))
            }
            (axis::across(&rows.frame, &scale, &axis_title))
        };
        Drawing { height: rows.height, body }
    }

    fn repeats(&self, configuration: usize) -> impl Iterator<Item = f64> + '_ {
        self.analysis.repeats.get(configuration).into_iter().flatten().map(|it| it.value)
    }

    /// Names that are not distinguishable, and in which way.
    fn group(&self) -> (&[String], &'static str) {
        match &self.ranking.verdict {
            RankingVerdict::Tie { names, .. } => (names, "not distinguishable"),
            RankingVerdict::Undecided { names, .. } if names.len() > 1 => (names, "not decided"),
            _ => (&[], ""),
        }
    }

    /// The group that is not distinguishable, as a band.
    fn tied(&self, rows: &Rows) -> Markup {
        let (group, word) = self.group();
        let tied = |row: &&Row| group.contains(&self.ranking.rows[row.configuration].name);
        let band: Vec<&Row> = rows.all.iter().filter(tied).collect();
        html! {
            @for row in &band { (rows.behind(row, "area")) }
            @if let Some(first) = band.first() {
                (text(0.0, first.top - LINE / 2.0 - 1.0, Align::Start, "muted", &format!("band: {word}")))
            }
        }
    }

    /// A vertical line at production.
    fn baseline(&self, frame: &Frame, scale: &Scale) -> Markup {
        let Some((at, _, estimate)) = self.drawn.iter().find(|it| it.1.baseline) else {
            return html! {};
        };
        let x = scale.at(estimate.mean);
        let name = self.palette.short_name(*at, 140.0);
        let (half, edge) = (text_width(&name) / 2.0, frame.right.max(frame.left + 1.0));
        let middle = x.min(edge - half).max(frame.left + half);
        // The band's own words stand on the left.
        let middle = if self.group().0.is_empty() { middle } else { middle.max(200.0 + half) };
        html! {
            (mark::straight("rule", (x, frame.top - 4.0), (x, frame.bottom)))
            (text(middle, frame.top - LINE / 2.0 - 5.0, Align::Middle, "muted", &name))
        }
    }

    fn mark(
        &self,
        row: &Row,
        configuration: &RankedConfiguration,
        estimate: &Estimate,
        scale: &Scale,
    ) -> Markup {
        let look = self.palette.look(row.configuration);
        let x = scale.at(estimate.mean);
        let radius = if row.named { 5.0 } else { 3.0 };
        let confirmed = self.ranking.confirmed_of(&configuration.name);
        let confirmed = confirmed.is_some_and(ConfirmedGain::is_confirmed);
        let hollow = seems_better(configuration, self.ranking) && !confirmed;
        let fill = if hollow { Fill::Hollow } else { Fill::Full };
        let ends = estimate.interval.map(|it| (scale.at(it.low), scale.at(it.high)));
        let (from, to) = ends.unwrap_or((x, x));
        let body = html! {
            (Rows::target(row, from, to))
            @if let Some((low, high)) = ends { (mark::across(low, high, row.y)) }
            @if row.named { (self.ticks(row, scale)) }
            @if configuration.rank.is_none() { (mark::crossed(x, row.y, radius)) }
            @else { (mark::dot(look.shape, x, row.y, radius, fill)) }
        };
        mark::link(
            &anchor(row.configuration),
            &self.title_of(row.configuration, configuration, estimate),
            look,
            &body,
        )
    }

    fn ticks(&self, row: &Row, scale: &Scale) -> Markup {
        let tick = |value: f64| format!("M{} {}v5", px(scale.at(value)), px(row.y + 7.0));
        let path: String =
            self.repeats(row.configuration).filter(|it| it.is_finite()).map(tick).collect();
        html! { @if !path.is_empty() { path class="repeat" d=(path) {} } }
    }

    fn title_of(&self, at: usize, row: &RankedConfiguration, estimate: &Estimate) -> String {
        let rank = row
            .rank_label
            .as_ref()
            .map_or_else(|| "without a rank".to_owned(), |it| format!("rank {it}"));
        let figure = number::estimate(estimate, self.unit());
        let n =
            format!("{}, {}", some(estimate.launches, "launch"), some(estimate.repeats, "repeat"));
        let mut parts = vec![format!("{}: {figure}", self.palette.name(at)), n, rank];
        parts.extend(self.compared(row).map(|it| format!("compared with the baseline {it}")));
        parts.extend(Some(self.confirmed(row).to_owned()).filter(|it| !it.is_empty()));
        parts.extend(row.reason().map(|it| spoken::clean(&it)));
        parts.join("; ")
    }
}
