//! Columns of what a configuration asks for and what its servers showed: `flag.*`,
//! `effective.*` and `verdict.*`, `environment.*` and `variable.*`. The frames `results`
//! and `ranking` have them alike; what a row is, they decide. Secrets have no column.

use std::collections::{BTreeMap, BTreeSet};

use polars::prelude::Column;
use serde_json::Value;

use super::columns::{Kind, column, json, kind};
use crate::configuration::Configuration;
use crate::flags::is_secret;
use crate::history::record::{LaunchRecord, SweepRecord};
use crate::server::effective::FlagProof;

/// Prefixes of the columns of a flag: what was asked for, what the server showed, and how far
/// that is a proof.
pub(super) const OF_FLAGS: [&str; 3] = ["flag", "effective", "verdict"];

/// What one row shows of a configuration: what it asks for, and the launches that the row
/// is about.
pub(super) struct Asked<'a> {
    pub(super) configuration: Option<&'a Configuration>,
    pub(super) launches: &'a [&'a LaunchRecord],
}

impl<'a> Asked<'a> {
    /// The value that every launch shows which shows one; `None` where they differ.
    fn shown(&self, name: &str) -> Option<&'a Value> {
        let shown = |launch: &&'a LaunchRecord| launch.effective.get(name)?.value.as_ref();
        let mut values = self.launches.iter().filter_map(shown);
        let first = values.next()?;
        values.all(|value| value == first).then_some(first)
    }

    /// Every proof of its launches, `|` between different ones.
    fn proof(&self, name: &str) -> Option<String> {
        let proof = |launch: &&LaunchRecord| launch.effective.get(name)?.proof;
        let proofs = self.launches.iter().filter_map(proof).map(FlagProof::as_str);
        let proofs: BTreeSet<&str> = proofs.collect();
        let text = proofs.into_iter().collect::<Vec<_>>().join("|");
        (!text.is_empty()).then_some(text)
    }
}

/// `flag.*` of every flag that a configuration asks for, then `effective.*` and `verdict.*`
/// of these and of what servers showed besides.
pub(super) fn of_flags(sweep: &SweepRecord, rows: &[Asked<'_>]) -> Vec<Column> {
    let configurations = &sweep.manifest.configurations;
    let requested: BTreeSet<&str> = configurations
        .iter()
        .flat_map(|c| c.flags.keys().chain(c.varied.keys()))
        .map(String::as_str)
        .filter(|name| !is_secret(name))
        .collect();
    let shown: BTreeSet<&str> = sweep
        .all_launches()
        .flat_map(|(_, launch)| launch.effective.keys())
        .map(String::as_str)
        .filter(|name| !is_secret(name))
        .collect();
    let kinds: BTreeMap<&str, Kind> = requested
        .iter()
        .filter_map(|name| {
            let values = configurations.iter().filter_map(|c| c.flags.get(name));
            Some((*name, kind(values)?))
        })
        .collect();
    let [flag, effective, verdict] = OF_FLAGS;
    let mut columns: Vec<Column> = requested
        .iter()
        .map(|name| {
            let values: Vec<Option<&Value>> =
                rows.iter().map(|row| row.configuration?.flags.get(name)).collect();
            let kind = kinds.get(name).copied().unwrap_or(Kind::Text);
            json(&format!("{flag}.{name}"), &values, kind)
        })
        .collect();
    // Every requested flag has its columns, shown by a server or not.
    let all: BTreeSet<&str> = requested.union(&shown).copied().collect();
    columns.extend(all.iter().map(|name| {
        let every =
            sweep.all_launches().filter_map(|(_, l)| l.effective.get(*name)?.value.as_ref());
        let kind = kind(every).or(kinds.get(name).copied()).unwrap_or(Kind::Text);
        let values: Vec<Option<&Value>> = rows.iter().map(|row| row.shown(name)).collect();
        json(&format!("{effective}.{name}"), &values, kind)
    }));
    columns.extend(all.iter().map(|name| {
        column(&format!("{verdict}.{name}"), rows.iter().map(|row| row.proof(name)).collect())
    }));
    columns
}

/// `environment.*` and `variable.*`, where the grid sets such.
pub(super) fn of_variables(sweep: &SweepRecord, rows: &[Asked<'_>]) -> Vec<Column> {
    let mut columns = texts(sweep, rows, "environment", |it| &it.environment);
    columns.extend(texts(sweep, rows, "variable", |it| &it.stack.variables));
    columns
}

fn texts(
    sweep: &SweepRecord,
    rows: &[Asked<'_>],
    prefix: &str,
    of: impl Fn(&Configuration) -> &BTreeMap<String, String>,
) -> Vec<Column> {
    let configurations = &sweep.manifest.configurations;
    let names: BTreeSet<&str> = configurations
        .iter()
        .flat_map(|c| of(c).keys())
        .map(String::as_str)
        .filter(|name| !is_secret(name))
        .collect();
    names
        .into_iter()
        .map(|name| {
            let value = |row: &Asked<'_>| of(row.configuration?).get(name).cloned();
            column(&format!("{prefix}.{name}"), rows.iter().map(value).collect())
        })
        .collect()
}
