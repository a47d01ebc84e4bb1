//! The ranking as a table for a terminal: one renderer of
//! [`Ranking::findings`]. Fits the given width: columns without space are left out. What is said is decided in [`crate::results`]; the words
//! and what depends on the layout are here and in `notes`.

use serde_json::Value;

use super::bars::Bars;
use super::bounds;
use super::fields::{Field, PADDING, draw};
use super::names::{Names, forced};
use super::notes;
use super::objectives;
use super::reading::{SIMULATED, word};
use super::text::{plain, wrap};
use crate::configuration::canonical;
use crate::history::record::Manifest;
use crate::metric::Goal;
use crate::results::findings::Finding;
use crate::results::number;
use crate::results::ranking::{Effect, RankedConfiguration, Ranking};

/// More configurations than this have no table of bounds.
const BOUND_ROWS: usize = 24;

/// Heading of the names.
const NAMES: &str = "configuration";

/// Columns that a name needs at least; others are left out for it.
const MIN_NAME: usize = NAMES.len();

/// Columns of a name from which segments may be left out of it, before another column is.
const GOOD_NAME: usize = 20;

/// The ranking as text of at most `columns` columns (at least 60 are used); `exported`:
/// the files that have more of it are there. Ends with a newline.
pub fn render(ranking: &Ranking, manifest: &Manifest, columns: usize, exported: bool) -> String {
    let columns = columns.max(60);
    let findings = ranking.findings();
    let layout = Layout::choose(ranking, manifest, columns);
    let mut blocks = vec![title(ranking, manifest, &findings, &layout, columns)];
    if let Some(unswept) = &ranking.unswept {
        let gains = ranking.confirmed.iter().map(ToString::to_string);
        let without = format!("no ranking: {unswept}");
        let lines = std::iter::once(without).chain(gains);
        blocks
            .push(lines.map(|it| wrap(&plain(&it), columns, "  ")).collect::<Vec<_>>().join("\n"));
        return blocks.join("\n\n") + "\n";
    }
    if !ranking.rows.is_empty() {
        blocks.push(draw(&layout.fields.iter().collect::<Vec<_>>()));
    }
    blocks.extend(objectives::render(ranking, manifest, columns));
    let bounds = bounds::render(ranking, columns).filter(|_| ranking.rows.len() <= BOUND_ROWS);
    let shown = notes::Shown {
        effect: layout.shown.effect,
        confirmed: any_confirmed(ranking),
        star: true,
        numbers: layout.shown.numbers,
        uneven: ranking.rows.iter().any(|row| numbers(row).contains(':')),
        lost: layout.shown.lost,
        bounds: bounds.is_some(),
    };
    let mut notes = notes::below(&findings, shown);
    notes.extend(layout.notes(exported));
    blocks.extend(bounds);
    let notes: Vec<String> = notes.iter().map(|note| wrap(&plain(note), columns, "  ")).collect();
    if !notes.is_empty() {
        blocks.push(notes.join("\n"));
    }
    blocks.join("\n\n") + "\n"
}

fn title(
    ranking: &Ranking,
    manifest: &Manifest,
    findings: &[Finding],
    layout: &Layout,
    columns: usize,
) -> String {
    let goal = match ranking.objective.goal {
        Goal::Minimize => "minimize",
        Goal::Maximize => "maximize",
    };
    let count = ranking.rows.len();
    let plural = if count == 1 { "" } else { "s" };
    let unit = match number::unit(&ranking.objective.metric) {
        unit if !layout.shown.units && !unit.is_empty() => format!(" in {unit}"),
        _ => String::new(),
    };
    let line = format!(
        "{}: {count} configuration{plural}, engine {}, {goal} {}{unit}",
        ranking.sweep, manifest.engine, ranking.objective.metric
    );
    let line = wrap(&plain(&line), columns, "  ");
    let mark = findings.contains(&Finding::Simulated).then(|| SIMULATED.to_owned());
    mark.into_iter().chain([line]).collect::<Vec<_>>().join("\n")
}

/// Which columns are shown.
struct Layout {
    fields: Vec<Field>,
    names: Names,
    /// Whether what differs is not in the table.
    differences_open: bool,
    /// How to read the bars, where there are any.
    bars: Option<String>,
    shown: Shown,
}

/// What a table has space for besides rank, name and objective.
#[derive(Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "one for each column")]
struct Shown {
    /// The objective compared with the baseline's.
    effect: bool,
    differences: bool,
    bounds: bool,
    /// Launches and repeats.
    numbers: bool,
    /// Launches that failed.
    failures: bool,
    /// Repeats that failed.
    lost: bool,
    /// The figures' unit; the title has it otherwise.
    units: bool,
    /// Intervals as bars of so many columns.
    bars: Option<usize>,
}

/// Columns of bars that leave space for more, beside the figures with their unit.
const NARROWER: [usize; 3] = [20, 16, 12];

/// The same, of the last bars before there are none.
const NARROWEST: [usize; 6] = [20, 16, 14, 12, 11, 10];

impl Shown {
    /// Everything that there is.
    fn all(ranking: &Ranking, manifest: &Manifest, columns: usize) -> Self {
        let rows = &ranking.rows;
        Self {
            effect: any_confirmed(ranking) || rows.iter().any(|row| row.effect().is_some()),
            differences: !manifest.varied.is_empty(),
            bounds: !ranking.constrained.is_empty(),
            numbers: true,
            failures: rows.iter().any(|row| row.failures > 0),
            lost: rows.iter().any(lost),
            units: true,
            bars: Bars::full(ranking, columns),
        }
    }

    /// With one column less each, or narrower bars, in the order in which they fall away. The
    /// change against the baseline stays. `below`: a table below has the bounds, so that their
    /// column gives way to bars for which there is no other space.
    fn fewer(self, below: bool) -> Vec<Self> {
        let differences = Self { differences: false, ..self };
        let lost = Self { lost: false, ..differences };
        let failures = Self { failures: false, ..lost };
        let units = Self { units: false, ..failures };
        let drawn = (below && units.bars.is_some()).then_some(Self { bounds: false, ..units });
        let bars = Self { bars: None, ..units };
        let numbers = Self { numbers: false, ..bars };
        let bounds = Self { bounds: false, ..numbers };
        let first = [self, differences, lost, failures].into_iter();
        let first = first.chain(failures.narrower(&NARROWER));
        let first = first.chain([units]).chain(units.narrower(&NARROWEST));
        first.chain(drawn).chain([bars, numbers, bounds]).collect()
    }

    /// With bars of fewer columns, where there are bars.
    fn narrower(self, widths: &'static [usize]) -> impl Iterator<Item = Self> {
        let narrower = widths.iter().filter(move |it| self.bars.is_some_and(|full| **it < full));
        narrower.map(move |width| Self { bars: Some(*width), ..self })
    }
}

impl Layout {
    /// As many columns as leave space for the names: whole ones, or without what all
    /// share; with segments left out only where one more column would have to go.
    fn choose(ranking: &Ranking, manifest: &Manifest, columns: usize) -> Self {
        let whole: Vec<String> = ranking.rows.iter().map(|row| plain(&name(row))).collect();
        let baseline = ranking.rows.iter().position(|row| row.baseline);
        let forms = Names::forms(&whole, baseline);
        let all = Shown::all(ranking, manifest, columns);
        let below = ranking.rows.len() <= BOUND_ROWS && bounds::render(ranking, columns).is_some();
        for shown in all.fewer(below) {
            let layout = |names| Self::with(ranking, manifest, shown, names);
            let space = layout(Names::whole(&whole)).space(columns);
            if let Some(names) = forms.iter().find(|names| names.width().max(MIN_NAME) <= space) {
                return layout(names.clone());
            }
            // Differences are in the names as a rule, and a count of failures is above.
            let few = !(shown.differences || shown.lost || shown.failures || shown.units);
            if few
                && space >= GOOD_NAME
                && let Some(names) = forms.iter().find_map(|names| names.within(space))
            {
                return layout(names);
            }
        }
        let mut shown = Shown { units: false, bars: None, numbers: false, bounds: false, ..all };
        (shown.differences, shown.lost, shown.failures) = (false, false, false);
        let space = |shown| Self::with(ranking, manifest, shown, forms[0].clone()).space(columns);
        // An empty name identifies nothing.
        shown.effect &= space(shown) >= MIN_NAME;
        let space = space(shown);
        Self::with(ranking, manifest, shown, forced(&forms, space))
    }

    fn with(ranking: &Ranking, manifest: &Manifest, shown: Shown, names: Names) -> Self {
        let rows = &ranking.rows;
        let cells = |read: &dyn Fn(&RankedConfiguration) -> String| -> Vec<String> {
            rows.iter().map(read).collect()
        };
        let unit = if shown.units { number::unit(&ranking.objective.metric) } else { "" };
        let mut fields = vec![
            Field::new("rank", cells(&|row| row.rank_label.clone().unwrap_or("-".to_owned()))),
            Field::new(NAMES, names.shown.clone()),
        ];
        if shown.differences {
            fields.push(Field::new("differs in", cells(&|row| differs(row, manifest))));
        }
        let objective = |row: &RankedConfiguration| {
            let estimate = row.estimates.first().and_then(Option::as_ref);
            estimate.map_or("-".to_owned(), |estimate| number::estimate(estimate, unit))
        };
        let header = format!("{} [95%]", ranking.objective.metric.name);
        fields.push(Field::new(header, cells(&objective)).right());
        if shown.effect {
            let marked = any_confirmed(ranking);
            let mark = |mark| if marked { mark } else { "" };
            let effect = |row: &RankedConfiguration| match (change_of(ranking, row), row.effect()) {
                (Some(effect), _) => format!("{}{}", mark("c "), notes::effect(effect)),
                (None, Some(effect)) => format!("{}{}", mark("u "), notes::effect(effect)),
                (None, None) if row.baseline && row.eligible => "baseline".to_owned(),
                (None, None) => "-".to_owned(),
            };
            let header = if marked { notes::CHANGE } else { notes::UNCONFIRMED };
            fields.push(Field::new(header, cells(&effect)).right());
        }
        let bars = shown.bars.and_then(|width| Bars::of(ranking, width));
        let note = bars.as_ref().map(|bars| bars.note.clone());
        fields.extend(bars.map(|bars| bars.field));
        if shown.bounds {
            fields.push(Field::new("bounds", cells(&constraints)));
        }
        if shown.numbers {
            fields.push(Field::new("n", cells(&numbers)));
        }
        if shown.failures {
            fields.push(Field::new("failed", cells(&|row| row.failures.to_string())).right());
        }
        if shown.lost {
            fields.push(Field::new("lost", cells(&|row| row.failed_repeats.to_string())).right());
        }
        let differences_open = !shown.differences && !manifest.varied.is_empty();
        Self { fields, names, differences_open, bars: note, shown }
    }

    /// What the other columns leave for the names.
    fn space(&self, columns: usize) -> usize {
        let others = self.fields.iter().enumerate().filter(|(at, _)| *at != 1);
        let taken: usize = others.map(|(_, field)| field.width() + PADDING).sum();
        columns.saturating_sub(taken)
    }

    /// What the table does not show of names and flags.
    fn notes(&self, exported: bool) -> Vec<String> {
        let shared = self.names.shared.as_ref();
        let shared = shared.map(|it| format!("names without what all share: {it}"));
        let open = match (self.names.cut, self.differences_open, exported) {
            (true, true, true) => {
                Some("names in full: ranking.csv; flags: results.csv, or a wider terminal")
            }
            (true, true, false) => Some("names in full and flags: `export`, or a wider terminal"),
            (true, false, true) => Some("names in full: ranking.csv"),
            (true, false, false) => Some("names in full: `export`"),
            (false, true, true) => Some("flags of each: results.csv, or a wider terminal"),
            (false, true, false) => Some("flags of each: `export`, or a wider terminal"),
            (false, false, _) => None,
        };
        self.bars.clone().into_iter().chain(shared).chain(open.map(str::to_owned)).collect()
    }
}

/// What fresh launches showed of a configuration against the baseline: it takes the place of
/// the effect from the launches that chose rank 1.
pub(super) fn change_of(ranking: &Ranking, row: &RankedConfiguration) -> Option<Effect> {
    ranking.rows.iter().find(|row| row.baseline)?;
    ranking.confirmed_of(&row.name)?.effect.map(Effect::Ratio)
}

fn any_confirmed(ranking: &Ranking) -> bool {
    ranking.rows.iter().any(|row| change_of(ranking, row).is_some())
}

/// The name, marked where it is the baseline.
fn name(row: &RankedConfiguration) -> String {
    let mark = if row.baseline { "*" } else { "" };
    format!("{}{mark}", row.name)
}

/// `2x5` for two launches of five repeats each; `2:9` for nine repeats in two launches.
fn numbers(row: &RankedConfiguration) -> String {
    match row.estimates.first().and_then(Option::as_ref) {
        Some(e) if e.repeats % e.launches == 0 => {
            format!("{}x{}", e.launches, e.repeats / e.launches)
        }
        Some(e) => format!("{}:{}", e.launches, e.repeats),
        None => "-".to_owned(),
    }
}

/// Whether repeats of it failed.
fn lost(row: &RankedConfiguration) -> bool {
    row.failed_repeats > 0
}

/// The worst verdict of all constraints.
fn constraints(row: &RankedConfiguration) -> String {
    // Nothing measured: the reason is below the table.
    if row.repeats == 0 {
        return "-".to_owned();
    }
    let word = match row.constraints.iter().map(|bounded| bounded.verdict).max() {
        Some(verdict) => word(verdict),
        None => "-",
    };
    word.to_owned()
}

/// What the grid varied of a configuration, in few words.
fn differs(row: &RankedConfiguration, manifest: &Manifest) -> String {
    let parts = manifest.varied.iter().map(|flag| {
        let value = match row.varied.get(flag) {
            None | Some(Value::Null) => "-".to_owned(),
            Some(Value::Bool(true)) => "on".to_owned(),
            Some(Value::Bool(false)) => "off".to_owned(),
            Some(Value::String(text)) => plain(text),
            Some(other) => canonical(other),
        };
        format!("{} {value}", short(flag))
    });
    parts.collect::<Vec<_>>().join(", ")
}

/// The usual short word for a flag.
fn short(flag: &str) -> &str {
    match flag {
        "gpu-memory-utilization" => "util",
        "enable-prefix-caching" => "prefix",
        "enable-chunked-prefill" => "chunk",
        "max-num-seqs" => "seqs",
        "max-num-batched-tokens" => "batch",
        "max-model-len" => "len",
        "tensor-parallel-size" => "tp",
        other => other.strip_prefix("enable-").unwrap_or(other),
    }
}
