//! Puts an analysis together, each part from its own file, and notes what of a sweep's
//! folder could not be read.

use std::path::Path;

use super::files::Files;
use super::source::Source;
use super::{
    Analysis, Records, Repeat, course, distributions, effects, hits, ladder, neighbours, pareto,
    separations, turns, uses,
};
use crate::history::record::SweepRecord;
use crate::history::values::{case_of, kept, value};
use crate::results::ranked::Ranking;

impl Analysis {
    /// What a report shows besides the ranking. `folder`: the sweep's folder, whose
    /// `launches/<n>-<configuration>/` have the records of requests and the telemetry. What
    /// of it is missing or damaged is left out, and [noted](Self::notes).
    ///
    /// Reads the records of all kept repeats, by at most four threads.
    pub fn of(record: &SweepRecord, ranking: &Ranking, folder: &Path) -> Self {
        Self::made(record, ranking, folder, None)
    }

    /// The same of a sweep that goes on: what `records` has is not read again, and the rest by
    /// this thread alone, since a server is measured meanwhile. `records` begins empty and is
    /// of this sweep only.
    pub fn of_cached(
        record: &SweepRecord,
        ranking: &Ranking,
        folder: &Path,
        records: &mut Records,
    ) -> Self {
        Self::made(record, ranking, folder, Some(records))
    }

    fn made(
        record: &SweepRecord,
        ranking: &Ranking,
        folder: &Path,
        mut records: Option<&mut Records>,
    ) -> Self {
        let source = Source::new(record, ranking);
        let files = Files::of(folder);
        let known = records.as_deref_mut();
        let (distributions, mut notes) = distributions::distributions(&source, &files, known);
        let (course, more) = course::course(&source, &files, records);
        notes.extend(more);
        let (ladder, more) = ladder::ladder(&source);
        notes.extend(more);
        let (separations, more) = separations::separations(&source);
        notes.extend(more);
        Self {
            repeats: repeats(&source),
            hits: hits::hits(&source),
            distributions,
            turns: turns::turns(&source),
            ladder,
            pareto: pareto::pareto(&source),
            effects: effects::effects(&source),
            course,
            uses: uses::uses(&source),
            separations,
            neighbours: neighbours::neighbours(&source),
            notes,
        }
    }
}

/// The objective's repeats that count, by row.
fn repeats(source: &Source<'_>) -> Vec<Vec<Repeat>> {
    let manifest = &source.record.manifest;
    let metric = &manifest.objective.metric;
    let Some(case) = case_of(manifest, metric) else { return vec![Vec::new(); source.count()] };
    let of_row = |row: usize| {
        let launches = source.launches(row).iter();
        let repeats = launches.flat_map(|launch| {
            kept(launch, &metric.workload, &case).filter_map(|repeat| {
                let value = value(repeat, &metric.name)?;
                Some(Repeat { launch: launch.launch, repeat: repeat.repeat, value })
            })
        });
        repeats.collect()
    };
    (0..source.count()).map(of_row).collect()
}
