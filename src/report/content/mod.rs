//! What a report says, as data: the verdict's block, then seven sections in a fixed order.
//! Everything is computed from [`Input`] alone; which figure is right is decided in
//! [`crate::results`], how a section looks in `page` and `markdown`.

use crate::clean::counted;
use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;

use super::pictures::Picture;
use super::reading::block;
use super::reading_lines::Entry;
use super::spoken;
use crate::configuration::{Configuration, canonical};
use crate::history::extent::{Confirming, Extent, State};
use crate::history::record::{LaunchRecord, SweepRecord};
use crate::results::analysis::{Analysis, Figure};
use crate::results::number;
use crate::results::ranking::{Estimate, RankedConfiguration, Ranking};
use crate::results::reading::Reading;

mod analysis;
mod comparison;
mod configuration;
mod drawn;
pub mod files;
mod limits;
mod next;
pub(super) mod parts;
mod proofs;
mod recommendations;
mod results;

pub use drawn::pictures_of;
pub(super) use next::line;

use files::LaunchFiles;
use parts::{Cell, Part, Section, To};

/// Columns of the verdict's block: what is cut there is cut here, too.
const COLUMNS: usize = 100;

/// What a report is made of.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// The sweep.
    pub record: &'a SweepRecord,
    /// Its ranking.
    pub ranking: &'a Ranking,
    /// What is read first.
    pub reading: &'a Reading,
    /// What is shown besides the ranking.
    pub analysis: &'a Analysis,
    /// The pictures, in the order in which they are shown.
    pub pictures: &'a [Picture],
    /// How far the sweep is; `None` where that is not known.
    pub extent: Option<&'a Extent>,
    /// The grid file's text, where it is there.
    pub grid: Option<&'a str>,
    /// What lies on the disk of each launch, by its number.
    pub files: &'a BTreeMap<u32, LaunchFiles>,
    /// From where the report lies to the sweep's folder: empty, or a path that ends with `/`.
    pub base: &'a str,
    /// Configurations that are compared side by side, by their index in the ranking.
    pub compared: &'a [usize],
    /// Now.
    pub now: Timestamp,
}

impl<'a> Input<'a> {
    /// The ranking's rows, each with its index.
    pub(super) fn rows(&self) -> impl Iterator<Item = (usize, &'a RankedConfiguration)> {
        self.ranking.rows.iter().enumerate()
    }

    /// The name of a row.
    pub(super) fn name(&self, index: usize) -> &'a str {
        self.ranking.rows.get(index).map_or("", |row| row.name.as_str())
    }

    /// What the manifest has of a row.
    pub(super) fn configuration(&self, index: usize) -> Option<&'a Configuration> {
        let name = self.name(index);
        self.record.manifest.configurations.iter().find(|it| it.name == name)
    }

    /// The launches of a row in all blocks, each with its block.
    pub(super) fn launches(&self, index: usize) -> Vec<(u32, &'a LaunchRecord)> {
        let name = self.name(index);
        let record: &'a SweepRecord = self.record;
        record.all_launches().filter(|(_, it)| it.configuration == name).collect()
    }

    /// Those of a row that count for the ranking.
    pub(super) fn counted(&self, index: usize) -> impl Iterator<Item = &'a LaunchRecord> {
        let name = self.name(index);
        self.record.own_launches().filter(move |it| it.configuration == name)
    }

    /// The title, without the mark of simulated figures.
    pub(super) fn title(&self) -> String {
        format!("Sweep {}", self.record.manifest.sweep)
    }

    /// What follows every title of a simulated sweep.
    pub(super) fn mark(&self) -> Option<&'static str> {
        self.ranking.simulated.then_some("simulated")
    }

    /// The block of the verdict, without the mark of simulated figures.
    pub(super) fn block(&self) -> Vec<Entry> {
        let block = block(self.reading, COLUMNS);
        block.entries().iter().filter(|it| !it.label.is_empty()).cloned().collect()
    }

    /// `partial, as of 03:12 UTC: 5 of 20 launches are over`, where something is missing.
    pub(super) fn partial(&self) -> Option<String> {
        let extent = self.extent.filter(|it| it.is_partial() || it.confirmation.is_some())?;
        let at = if self.goes_on() { self.now } else { self.last().unwrap_or(self.now) };
        Some(format!(
            "partial, as of {} UTC: {} of {} launches are over",
            at.strftime("%F %H:%M"),
            extent.done,
            extent.of
        ))
    }

    /// Whether more comes without somebody asking for it: the page reloads itself.
    pub(super) fn goes_on(&self) -> bool {
        self.extent.is_some_and(goes_on)
    }

    /// When something happened last.
    fn last(&self) -> Option<Timestamp> {
        let times = self.record.all_launches().flat_map(|(_, it)| {
            let own = [it.started_at, it.ready_at, it.ended_at].into_iter().flatten();
            own.chain(it.measured_at.last().copied())
        });
        times.max()
    }
}

/// Whether more of a sweep or of its confirmation comes by itself.
pub fn goes_on(extent: &Extent) -> bool {
    matches!(extent.state, State::Running | State::Waiting)
        || matches!(extent.confirmation, Some(Confirming::Running | Confirming::Waiting))
}

/// The configurations that are compared where none are named: the candidate, the baseline,
/// then the others that are not distinguishable from rank 1; at most four.
pub fn compared(ranking: &Ranking) -> Vec<usize> {
    let rows = || ranking.rows.iter().enumerate();
    let first = ranking.rows.first().and_then(|row| row.rank_label.as_ref());
    let candidate = ranking.decision.as_ref().map(|it| it.candidate.configuration.as_str());
    let is_named = |row: &RankedConfiguration| row.baseline || candidate == Some(row.name.as_str());
    let named = rows().filter(|(_, row)| is_named(row));
    let tied =
        rows().filter(|(_, row)| row.rank_label.is_some() && row.rank_label.as_ref() == first);
    // With nothing else to compare, the next ranks say how far they are behind.
    let ranked = rows().filter(|(_, row)| row.rank.is_some());
    let mut chosen: Vec<usize> = Vec::new();
    for (index, _) in named.chain(tied).chain(ranked) {
        if !chosen.contains(&index) && chosen.len() < MOST_COMPARED {
            chosen.push(index);
        }
    }
    chosen.sort_unstable();
    chosen
}

/// Configurations side by side at most.
pub const MOST_COMPARED: usize = 4;

/// The seven sections.
pub(super) fn sections(input: &Input<'_>) -> Vec<Section> {
    let section = |id, title, parts| Section { id, title, parts };
    vec![
        section("configuration", "Configuration", configuration::parts(input)),
        section("results", "Results per workload", results::parts(input)),
        section("comparison", "Comparison side by side", comparison::parts(input)),
        section("analysis", "Analysis", analysis::parts(input)),
        section("recommendations", "Recommendations by use", recommendations::parts(input)),
        section("limits", "Limits and risks", limits::parts(input)),
        section("next-steps", "Next steps", next::parts(input)),
    ]
}

/// Beginnings of pictures' ids, each of which has its place in a section.
const PLACED: [&str; 11] = [
    "ranking",
    "effect",
    "interaction",
    "pareto",
    "hit",
    "distribution",
    "turn",
    "ladder",
    "quality",
    "night",
    "timeline",
];

/// The pictures whose ids begin so.
fn pictures(input: &Input<'_>, id: &str) -> Vec<Part> {
    let of = input.pictures.iter().filter(|it| it.id.starts_with(id));
    of.map(|it| Part::Picture(it.clone())).collect()
}

/// Those that have no place.
fn unplaced(input: &Input<'_>) -> Vec<Part> {
    let is_placed = |picture: &&Picture| PLACED.iter().any(|it| picture.id.starts_with(it));
    let rest = input.pictures.iter().filter(|it| !is_placed(it));
    rest.map(|it| Part::Picture(it.clone())).collect()
}

/// `4 x 3` for four launches of three repeats each; `4 launches, 11 repeats` otherwise.
fn counts(launches: usize, repeats: usize) -> String {
    if launches > 0 && repeats.is_multiple_of(launches) {
        // No line breaks it.
        format!("{launches}\u{a0}x\u{a0}{}", repeats / launches)
    } else {
        format!("{}, {}", counted(launches, "launch"), counted(repeats, "repeat"))
    }
}

/// A value of a flag as a person writes it.
fn shown(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "not set".to_owned(),
        Some(Value::Bool(true)) => "on".to_owned(),
        Some(Value::Bool(false)) => "off".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => canonical(other),
    }
}

/// An estimate as a cell that leads to its launches.
fn estimate(index: usize, estimate: Option<&Estimate>, unit: &str) -> Cell {
    estimate.map_or_else(Cell::nothing, |it| {
        Cell::figure(number::estimate(it, unit), To::Configuration(index))
    })
}

/// A figure of the analysis as text.
fn figure(figure: &Figure, unit: &str) -> String {
    number::estimate_of(figure.value, figure.interval, false, unit)
}

/// A figure that is a ratio, as a change.
fn change(figure: &Figure) -> String {
    figure.interval.map_or_else(
        || format!("{:+.0}%", (figure.value - 1.0) * 100.0),
        |interval| spoken::change(figure.value, interval).replace(spoken::GLUE, " "),
    )
}
