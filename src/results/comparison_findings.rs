//! What a comparison of sweeps says and what it does not, as a list of typed findings:
//! what makes it unsound, what became of the choice of the first sweep, and how the
//! changes are to be read. A renderer only words the list and lays it out.

use serde::Serialize;

use super::compared::{ComparedConfiguration, Comparison, RunDifference, Shift, Standing};
use super::exclusion::Exclusion;
use super::not_counted::NotCounted;
use crate::metric::Scale;

/// One thing that a reader of a comparison must know. Sweeps are named by their labels.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "finding", rename_all = "snake_case")]
pub enum ComparisonFinding {
    /// Figures come from the simulator.
    Simulated {
        /// Whose.
        runs: Vec<String>,
        /// Whether those of all sweeps do.
        all: bool,
    },
    /// Two of the sweeps are the same one.
    SameSweep {
        /// The first of them.
        run: String,
        /// The second.
        again: String,
    },
    /// Something besides the figures is not the same in all sweeps.
    Difference(RunDifference),
    /// Configurations with the same flags and other ids: engine, image or model differs.
    OtherIds {
        /// Their names.
        configurations: Vec<String>,
    },
    /// What became of the choice of the first sweep in the last one.
    Choice {
        /// The first sweep.
        run: String,
        /// What it chooses.
        configuration: String,
        /// The last sweep.
        last: String,
        /// Its place there.
        place: LaterPlace,
        /// What the last sweep chooses instead.
        instead: Option<String>,
    },
    /// No configuration has a figure in the first and in the last sweep.
    NoCommonFigure,
    /// What a change is.
    Changes {
        /// A ratio of geometric means (`ratios`), or a difference of arithmetic ones.
        scale: Scale,
    },
    /// How many configurations the p-values are adjusted for.
    Tested {
        /// Their number.
        configurations: usize,
    },
    /// What changed of all configurations alike, and which of them changed beyond it.
    SharedShift {
        /// The shift.
        shift: Shift,
        /// Configurations whose change beyond it is shown.
        beyond: Vec<String>,
    },
    /// What differs from night to night is in every change and in no interval.
    NightsNotSeparable,
    /// The first sweep chose by its own launches.
    ChoiceFavoursItself {
        /// The first sweep.
        run: String,
    },
    /// A change rests on a launch-to-launch variance that was not measured.
    VarianceAssumed,
    /// Configurations that no claim is made about: launches were chosen, and one of the
    /// sweeps has too few of theirs.
    TooFewLaunches {
        /// Their names.
        configurations: Vec<String>,
        /// Launches that a claim needs.
        needed: usize,
    },
    /// Launches of a sweep that no figure is made of.
    NotCounted {
        /// The sweep.
        run: String,
        /// Which launches, and why.
        launches: NotCounted,
    },
    /// What the sweeps, or some of them, do not record, so that it is not compared.
    NotRecorded {
        /// What it is.
        what: Vec<&'static str>,
    },
    /// The same name for other flags.
    OtherFlags {
        /// The name.
        configuration: String,
        /// Sweeps that have the one.
        runs: Vec<String>,
        /// A sweep that has the other.
        other: String,
        /// Flags and variables that differ.
        differs_in: Vec<String>,
    },
    /// Configurations that only some sweeps have.
    OnlyIn {
        /// The sweeps.
        runs: Vec<String>,
        /// Their names.
        configurations: Vec<String>,
    },
    /// Configurations without a rank, for the same reason.
    NotRanked {
        /// The sweeps.
        runs: Vec<String>,
        /// Their names.
        configurations: Vec<String>,
        /// The reasons; empty where none was recorded.
        exclusions: Vec<Exclusion>,
    },
}

/// The place that the choice of one sweep has in a later one.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "place", rename_all = "snake_case")]
pub enum LaterPlace {
    /// The later sweep does not have it.
    Missing,
    /// It has no rank there.
    NotRanked {
        /// Why; empty where no reason was recorded.
        exclusions: Vec<Exclusion>,
    },
    /// It is the first there too.
    First,
    /// It is not distinguishable from the first.
    SharesFirst {
        /// Its place.
        rank_label: String,
    },
    /// It is behind the first on an assumed variance.
    BehindAssumed {
        /// Its place.
        rank_label: String,
    },
    /// It has too few launches there for a claim, since they were chosen.
    Unclaimed {
        /// Its place.
        rank_label: String,
    },
    /// It is shown to be behind the first.
    Behind {
        /// Its place.
        rank_label: String,
    },
}

impl Comparison {
    /// Everything that a reader must know, in this order: what makes the comparison
    /// unsound, the choice of the first sweep, how changes are to be read, then single
    /// configurations.
    pub fn findings(&self) -> Vec<ComparisonFinding> {
        let mut findings = self.unsound();
        let choice = self.choice();
        findings.extend(choice.clone());
        let changes: Vec<_> = self.configurations.iter().filter_map(|it| it.change).collect();
        if changes.is_empty() {
            findings.push(ComparisonFinding::NoCommonFigure);
        } else {
            let tested = changes.iter().filter(|change| change.p.is_some()).count();
            findings.push(ComparisonFinding::Changes { scale: self.scale });
            if tested > 0 {
                findings.push(ComparisonFinding::Tested { configurations: tested });
            }
            findings.push(ComparisonFinding::NightsNotSeparable);
            if let Some(shift) = self.shift {
                let own = self.configurations.iter();
                let own = own.filter(|it| it.beyond.is_some_and(|it| it.shown.is_some()));
                let beyond = own.map(|it| it.configuration.clone()).collect();
                findings.push(ComparisonFinding::SharedShift { shift, beyond });
            }
            if let Some(ComparisonFinding::Choice { run, .. }) = choice {
                findings.push(ComparisonFinding::ChoiceFavoursItself { run });
            }
            if changes.iter().any(|change| change.assumed) {
                findings.push(ComparisonFinding::VarianceAssumed);
            }
            findings.extend(self.too_few());
        }
        let not_counted = self.runs.iter().flat_map(|run| {
            let of = |launches: &NotCounted| {
                let (run, launches) = (run.label.clone(), launches.clone());
                ComparisonFinding::NotCounted { run, launches }
            };
            run.not_counted.iter().map(of)
        });
        findings.extend(not_counted);
        findings.push(ComparisonFinding::NotRecorded { what: self.not_recorded.clone() });
        findings.extend(self.not_everywhere());
        findings.extend(self.not_ranked());
        findings
    }

    fn unsound(&self) -> Vec<ComparisonFinding> {
        let mut findings = Vec::new();
        let simulated = self.runs.iter().filter(|run| run.simulated);
        let simulated: Vec<String> = simulated.map(|run| run.label.clone()).collect();
        if !simulated.is_empty() {
            let all = simulated.len() == self.runs.len();
            findings.push(ComparisonFinding::Simulated { runs: simulated, all });
        }
        for (at, run) in self.runs.iter().enumerate() {
            let identity = (&run.sweep, &run.created_at);
            let mut before = self.runs[..at].iter();
            if let Some(same) = before.find(|it| (&it.sweep, &it.created_at) == identity) {
                let (run, again) = (same.label.clone(), run.label.clone());
                findings.push(ComparisonFinding::SameSweep { run, again });
            }
        }
        findings.extend(self.differences.iter().cloned().map(ComparisonFinding::Difference));
        let renamed = self.configurations.iter().filter(|it| !it.same_id);
        let configurations: Vec<String> = renamed.map(|it| it.configuration.clone()).collect();
        if !configurations.is_empty() {
            findings.push(ComparisonFinding::OtherIds { configurations });
        }
        findings
    }

    /// What the first sweep chooses, what became of it in the last one, and what that
    /// one chooses.
    fn choice(&self) -> Option<ComparisonFinding> {
        let (first, last) = (self.runs.first()?, self.runs.last()?);
        let chosen = self.chosen_by(0)?;
        let instead = self.chosen_by(self.runs.len() - 1).filter(|instead| *instead != chosen);
        Some(ComparisonFinding::Choice {
            run: first.label.clone(),
            configuration: chosen.configuration.clone(),
            last: last.label.clone(),
            place: later_place(chosen.runs.last()?.as_ref()),
            instead: instead.map(|instead| instead.configuration.clone()),
        })
    }

    /// The one that was confirmed, the one to take of several first ones, or the first.
    fn chosen_by(&self, run: usize) -> Option<&ComparedConfiguration> {
        let is = |test: &dyn Fn(&Standing) -> bool| {
            self.configurations.iter().find(|it| it.runs[run].as_ref().is_some_and(test))
        };
        let confirmed = self.runs[run].confirmed.as_ref();
        let confirmed = confirmed.and_then(|name| is(&|it| it.name == *name));
        confirmed.or_else(|| is(&|it| it.preferred)).or_else(|| is(&|it| it.rank == Some(1)))
    }

    /// Those that have a change and too few launches for a claim.
    fn too_few(&self) -> Option<ComparisonFinding> {
        let need = |it: &ComparedConfiguration| {
            let ends = [it.runs.first()?, it.runs.last()?].into_iter().flatten();
            it.change.and_then(|_| ends.filter_map(|it| it.claims_need).max())
        };
        let needed = self.configurations.iter().filter_map(need).max()?;
        let few = self.configurations.iter().filter(|it| need(it).is_some());
        let configurations = few.map(|it| it.configuration.clone()).collect();
        Some(ComparisonFinding::TooFewLaunches { configurations, needed })
    }

    /// Labels of the sweeps that have a configuration.
    pub fn having(&self, it: &ComparedConfiguration) -> Vec<String> {
        let runs = it.runs.iter().zip(&self.runs);
        runs.filter(|(standing, _)| standing.is_some()).map(|(_, run)| run.label.clone()).collect()
    }

    /// What only some sweeps have.
    fn not_everywhere(&self) -> Vec<ComparisonFinding> {
        let mut findings = Vec::new();
        let mut only: Vec<(Vec<String>, Vec<String>)> = Vec::new();
        for it in &self.configurations {
            let having = self.having(it);
            if having.len() == self.runs.len() {
                continue;
            }
            // Listed once, by the first of the two.
            for namesake in it.namesakes.iter().filter(|it| it.run > 0) {
                findings.push(ComparisonFinding::OtherFlags {
                    configuration: it.configuration.clone(),
                    runs: having.clone(),
                    other: self.runs[namesake.run].label.clone(),
                    differs_in: namesake.differs_in.clone(),
                });
            }
            if !it.namesakes.is_empty() {
                continue;
            }
            let name = it.configuration.clone();
            match only.iter_mut().find(|(labels, _)| *labels == having) {
                Some((_, names)) => names.push(name),
                None => only.push((having, vec![name])),
            }
        }
        let only = only
            .into_iter()
            .map(|(runs, configurations)| ComparisonFinding::OnlyIn { runs, configurations });
        findings.extend(only);
        findings
    }

    /// Why some have no rank; those with the same reason in the same sweeps together.
    fn not_ranked(&self) -> Vec<ComparisonFinding> {
        let mut groups: Vec<(Vec<String>, &[Exclusion], Vec<String>)> = Vec::new();
        for it in &self.configurations {
            let mut reasons: Vec<(&[Exclusion], Vec<String>)> = Vec::new();
            for (standing, run) in it.runs.iter().zip(&self.runs) {
                let Some(Standing { rank: None, exclusions, .. }) = standing else { continue };
                match reasons.iter_mut().find(|(known, _)| *known == exclusions.as_slice()) {
                    Some((_, labels)) => labels.push(run.label.clone()),
                    None => reasons.push((exclusions, vec![run.label.clone()])),
                }
            }
            for (exclusions, runs) in reasons {
                let name = it.configuration.clone();
                match groups.iter_mut().find(|known| known.0 == runs && known.1 == exclusions) {
                    Some((_, _, names)) => names.push(name),
                    None => groups.push((runs, exclusions, vec![name])),
                }
            }
        }
        groups
            .into_iter()
            .map(|(runs, exclusions, configurations)| ComparisonFinding::NotRanked {
                runs,
                configurations,
                exclusions: exclusions.to_vec(),
            })
            .collect()
    }
}

fn later_place(standing: Option<&Standing>) -> LaterPlace {
    let Some(standing) = standing else { return LaterPlace::Missing };
    if standing.rank.is_none() {
        return LaterPlace::NotRanked { exclusions: standing.exclusions.clone() };
    }
    let rank_label = standing.rank_label.clone().unwrap_or_default();
    let assumed = standing.figure.is_some_and(|figure| figure.assumed);
    match rank_label.as_str() {
        "1" => LaterPlace::First,
        shared if shared.starts_with("1-") || shared.starts_with("1,") => {
            LaterPlace::SharesFirst { rank_label }
        }
        bracketed if bracketed.starts_with('(') => LaterPlace::Unclaimed { rank_label },
        _ if assumed => LaterPlace::BehindAssumed { rank_label },
        _ => LaterPlace::Behind { rank_label },
    }
}
