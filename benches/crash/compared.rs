//! What a sweep came to, without what chance gives: which repeats are kept, in which order
//! trials began, which configurations failed by themselves. Two sweeps of one grid are
//! compared by it.

use std::collections::BTreeSet;

use polars::prelude::{DataType, ParquetReader, SerReader as _};
use serde_json::Value;

use crate::place::{Place, few};

/// What an undisturbed sweep and a killed one have in common.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Outcome {
    /// Kept repeats by trial, configuration, workload, case and number.
    kept: BTreeSet<String>,
    /// Trials with their configurations, in the order of their first launches.
    order: Vec<String>,
    /// Rows of `results.parquet` that count.
    rows: Vec<String>,
}

impl Outcome {
    /// Reads it; faults are what no journal may hold.
    pub(crate) fn of(place: &Place, faults: &mut Vec<String>) -> Self {
        let mut kept = BTreeSet::new();
        let mut order: Vec<String> = Vec::new();
        let mut launches: Vec<(u64, String)> = Vec::new();
        for entry in place.entries() {
            let launch = entry["launch"].as_u64().unwrap_or(0);
            match entry["kind"].as_str().unwrap_or_default() {
                "launch_started" => {
                    let trial = format!("{} {}", entry["slot"], text(&entry["configuration"]));
                    if !order.contains(&trial) {
                        order.push(trial.clone());
                    }
                    launches.push((launch, trial));
                }
                "repeat_finished" => {
                    let it = &entry["measurement"];
                    let trial = launches.iter().find(|(known, _)| *known == launch);
                    let trial = trial.map_or("?", |(_, trial)| trial.as_str());
                    let key = format!("{trial} {} {} {}", it["workload"], it["case"], it["repeat"]);
                    let counts = it["status"] == "ok" && it["repeat"] != 0;
                    if counts && !kept.insert(key.clone()) {
                        faults.push(format!("kept twice: {key}"));
                    }
                }
                _ => {}
            }
        }
        Self { kept, order, rows: rows(place, faults) }
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows.len()
    }

    /// What of this one, which nobody disturbed, is not in `other`, and what is too much there.
    pub(crate) fn compare(&self, other: &Self, faults: &mut Vec<String>) {
        let lost: BTreeSet<String> = self.kept.difference(&other.kept).cloned().collect();
        let surplus: BTreeSet<String> = other.kept.difference(&self.kept).cloned().collect();
        if !lost.is_empty() {
            faults.push(format!("repeats are missing: {}", few(&lost)));
        }
        if !surplus.is_empty() {
            faults.push(format!("repeats that nobody asked for: {}", few(&surplus)));
        }
        if self.order != other.order {
            faults.push(format!("another order: {:?} for {:?}", other.order, self.order));
        }
        if self.rows != other.rows {
            let (mine, theirs) = (self.rows.len(), other.rows.len());
            let missing = self.rows.iter().find(|row| !other.rows.contains(row));
            let more = other.rows.iter().find(|row| !self.rows.contains(row));
            faults.push(format!("rows: {theirs} for {mine}; missing {missing:?}, more {more:?}"));
        }
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Kept repeats, and what failed by itself or was left out for it, as the results show it.
fn rows(place: &Place, faults: &mut Vec<String>) -> Vec<String> {
    let path = place.run().join("results.parquet");
    let frame = std::fs::File::open(&path)
        .map_err(|error| error.to_string())
        .and_then(|file| ParquetReader::new(file).finish().map_err(|error| error.to_string()));
    let frame = match frame {
        Ok(frame) => frame,
        Err(error) => {
            faults.push(format!("results.parquet: {error}"));
            return Vec::new();
        }
    };
    let column = |name: &str| -> Vec<String> {
        let column = frame.column(name).expect("a column of the results");
        let texts = column.cast(&DataType::String).expect("it has a text");
        texts.str().expect("texts").iter().map(|it| it.unwrap_or("").to_owned()).collect()
    };
    let names = ["configuration", "workload", "case", "repeat", "status", "failure_class"];
    let columns: [Vec<String>; 6] = names.map(column);
    let mut rows = Vec::new();
    for row in 0..frame.height() {
        let values = columns.each_ref().map(|column| column[row].as_str());
        let [_, _, _, repeat, status, class] = values;
        let counts = match status {
            "ok" => repeat != "0",
            "skipped" => true,
            "failed" => matches!(class, "kv_cache_too_small" | "out_of_memory" | "bad_flag"),
            _ => false,
        };
        if counts {
            rows.push(values.join(" "));
        }
    }
    rows.sort();
    rows
}
