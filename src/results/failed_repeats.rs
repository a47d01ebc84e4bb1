//! Repeats that gave no figure: what became of them is reported with the figures of
//! the others. A server that fails half of its requests measures well in the
//! rest, so repeats that failed can cost the rank.

use crate::clean::counted;
use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;

use super::arm::Arm;
use crate::history::values::kept;
use crate::metric::Status;
use crate::statistics;

/// A case is no measurement of the configuration where the rate at which its repeats are
/// lost is shown to be above this, as it is with launches. A repeat is `failed` when
/// requests were refused or cut (in `load` above 1 % of them).
pub(super) const MAX_LOST_RATE: f64 = 0.25;

/// Whether so many lost repeats of those that were tried show too high a rate: the lower
/// bound of its one-sided 95 % interval (Clopper-Pearson) counts. 2 of 2 do not, 3 of 3 do.
pub(super) fn shows_too_many(lost: usize, tried: usize) -> bool {
    statistics::lower_bound(lost as u64, tried as u64).is_some_and(|rate| rate > MAX_LOST_RATE)
}

/// A workload's key and one of its cases.
pub(super) type Place = (String, String);

/// Repeats of one case that ended in one way and gave no figure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LostRepeats {
    /// `load[concurrency=8]`.
    pub place: String,
    /// How they ended: failed, void or skipped.
    pub status: Status,
    /// How many.
    pub count: usize,
    /// All repeats of the case.
    pub repeats: usize,
    /// What the first of them says.
    pub first_reason: Option<String>,
}

impl fmt::Display for LostRepeats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, status, count, repeats, first_reason } = self;
        let repeats = counted(*repeats, "repeat");
        write!(f, "{count} of {repeats} of {place} {}", status.as_str())?;
        match first_reason {
            Some(first) => write!(f, " ({first})"),
            None => Ok(()),
        }
    }
}

/// The repeats of one case, warm-ups left out.
#[derive(Debug)]
pub(super) struct Repeats {
    /// `load[concurrency=8]`.
    pub(super) place: String,
    /// Whether the objective or a bound is of it.
    pub(super) judged: bool,
    all: usize,
    failed: Lost,
    void: Lost,
    skipped: Lost,
}

/// Repeats that ended in one way.
#[derive(Debug, Default)]
struct Lost {
    count: usize,
    first: Option<String>,
}

impl Repeats {
    /// All cases that were tried, the judged ones first.
    pub(super) fn of(arm: &Arm<'_>, judged: &[Place]) -> Vec<Self> {
        let mut seen: BTreeSet<&Place> = BTreeSet::new();
        let mut places: Vec<Place> =
            judged.iter().filter(|place| seen.insert(place)).cloned().collect();
        let count = places.len();
        for measurement in arm.launches.iter().flat_map(|launch| &launch.measurements) {
            let place = (measurement.workload_key(), measurement.case.clone());
            if measurement.status != Status::Ok && !places.contains(&place) {
                places.push(place);
            }
        }
        places.iter().enumerate().map(|(at, place)| Self::at(arm, place, at < count)).collect()
    }

    fn at(arm: &Arm<'_>, (workload, case): &Place, judged: bool) -> Self {
        let place = if case.is_empty() { workload.clone() } else { format!("{workload}[{case}]") };
        let [failed, void, skipped] = [Lost::default(), Lost::default(), Lost::default()];
        let mut repeats = Self { place, judged, all: 0, failed, void, skipped };
        for measurement in arm.launches.iter().flat_map(|launch| kept(launch, workload, case)) {
            repeats.all += 1;
            let lost = match measurement.status {
                Status::Ok => continue,
                Status::Failed => &mut repeats.failed,
                Status::Void => &mut repeats.void,
                Status::Skipped => &mut repeats.skipped,
            };
            lost.count += 1;
            lost.first = lost.first.take().or_else(|| measurement.reason.clone());
        }
        repeats
    }

    /// Repeats that failed.
    pub(super) fn failed(&self) -> usize {
        self.failed.count
    }

    /// Repeats that were measured and may not be used.
    pub(super) fn void(&self) -> usize {
        self.void.count
    }

    /// The failed ones, where too many failed to judge by the rest.
    pub(super) fn too_many(&self) -> Option<LostRepeats> {
        // Void and skipped ones say nothing of how requests end.
        let tried = self.all - self.void.count - self.skipped.count;
        let too_many = self.judged && shows_too_many(self.failed.count, tried);
        too_many.then(|| self.with(Status::Failed, &self.failed))
    }

    /// What is to be known of them. Cases that were skipped are reported where they
    /// would have been judged.
    pub(super) fn lost(&self) -> Vec<LostRepeats> {
        let all = [
            (Status::Failed, &self.failed, true),
            (Status::Void, &self.void, true),
            (Status::Skipped, &self.skipped, self.judged),
        ];
        all.into_iter()
            .filter(|(_, lost, reported)| lost.count > 0 && *reported)
            .map(|(status, lost, _)| self.with(status, lost))
            .collect()
    }

    fn with(&self, status: Status, lost: &Lost) -> LostRepeats {
        LostRepeats {
            place: self.place.clone(),
            status,
            count: lost.count,
            repeats: self.all,
            first_reason: lost.first.clone(),
        }
    }
}
