//! A plan for a person: every configuration with its names and its exact
//! arguments, what was merged, what to read before the night, and how long it
//! may take. Fits terminals of 80 columns and more.

use std::fmt::Write as _;

use itertools::Itertools as _;

use crate::grid::plan::{
    EarlierRuns, Plan, Planned, PlannedGate, PlannedVariable, PlannedWindow, range, spoken,
};

mod cluster;
mod confirmation;
mod strategies;

/// The plan as text, for a terminal of `width` columns.
pub fn render(plan: &Plan<'_>, width: usize) -> String {
    let width = width.max(60);
    let mut text = String::new();
    head(&mut text, plan);
    for (index, planned) in plan.configurations.iter().enumerate() {
        let command = planned.command.as_ref().unwrap_or(&plan.command);
        let command = command.iter().map(|word| shell_words::quote(word)).join(" ");
        configuration(&mut text, index + 1, planned, &command, width);
    }
    requests(&mut text, plan, width);
    variables(&mut text, plan, width);
    gates(&mut text, plan, width);
    if !plan.warnings.is_empty() {
        text.push_str("\nwarnings\n");
    }
    for warning in plan.warnings {
        let mut place = warning.file.display().to_string();
        if let (Some(line), Some(column)) = (warning.line, warning.column) {
            let _ = write!(place, ":{line}:{column}");
        }
        let _ = writeln!(text, "  {place}");
        wrap(&mut text, warning.message.split(' '), "    ", "    ", width);
    }
    strategies::text(&mut text, plan, width);
    if let Some(by) = plan.predicted {
        text.push('\n');
        wrap(&mut text, format!("predicted: {by}").split(' '), "", "  ", width);
    }
    text.push('\n');
    match &plan.earlier_runs {
        Some(earlier) => by_earlier_runs(&mut text, plan, *earlier, width),
        None => by_assumption(&mut text, plan, width),
    }
    confirmation::text(&mut text, plan, width);
    if let Some(window) = &plan.window {
        wrap(&mut text, nights(window).split(' '), "", "  ", width);
    }
    cluster::text(&mut text, plan, width);
    text
}

/// What requests have besides what measuring sets.
fn requests(text: &mut String, plan: &Plan<'_>, width: usize) {
    if plan.requests.is_empty() {
        return;
    }
    text.push_str("\nmerged into each request's body (null: left out)\n");
    for (workload, request) in &plan.requests {
        let fields = request.fields().iter().map(|(name, value)| format!("{name}: {value}"));
        let line = format!("{workload}: {}", fields.collect::<Vec<_>>().join(", "));
        wrap(text, line.split(' '), "  ", "    ", width);
    }
}

/// The variables of the service, and where their values come from.
fn variables(text: &mut String, plan: &Plan<'_>, width: usize) {
    if !plan.variables.is_empty() {
        text.push_str("\nvariables of the compose files\n");
    }
    for PlannedVariable { name, value, from, file, line } in &plan.variables {
        let from = match (file, line) {
            (Some(file), Some(line)) => format!("{}:{line}", file.display()),
            _ if *from == "unset" => "set nowhere: empty".to_owned(),
            _ if *from == "grid" => "the grid".to_owned(),
            _ => (*from).to_owned(),
        };
        let line = format!("{name}={} ({from})", shell_words::quote(value));
        wrap(text, line.split(' '), "  ", "      ", width);
    }
}

/// What is looked at before a launch is measured, and about how long that takes.
fn gates(text: &mut String, plan: &Plan<'_>, width: usize) {
    text.push_str(if plan.gates.is_empty() { "\ngates: off\n" } else { "\ngates\n" });
    for PlannedGate { gate, each_launch, low_seconds, high_seconds, earlier_seconds } in &plan.gates
    {
        let which =
            if *each_launch { "each launch" } else { "the first launch of each configuration" };
        let seconds = match earlier_seconds {
            Some(seconds) => format!("about {} in earlier runs", spoken(*seconds)),
            None => {
                format!("{} to {} (assumed)", spoken(*low_seconds), spoken(*high_seconds))
            }
        };
        let line = format!("{gate} in {which}: {seconds}");
        wrap(text, line.split(' '), "  ", "    ", width);
    }
}

/// In how many nights it fits.
fn nights(planned: &PlannedWindow) -> String {
    let PlannedWindow { window, kept_seconds, nights } = planned;
    let count = match nights {
        None => "no launch fits into it".to_owned(),
        Some((1, 1)) => "one night".to_owned(),
        Some((least, most)) if least == most => format!("{least} nights"),
        Some((least, most)) => format!("{least} to {most} nights"),
    };
    let kept = spoken(*kept_seconds);
    format!("window {window}: {count}; the last {kept} of each are kept for the end")
}

/// How long it takes, as earlier runs of the same service did.
fn by_earlier_runs(text: &mut String, plan: &Plan<'_>, earlier: EarlierRuns, width: usize) {
    let EarlierRuns { runs, hours, least_hours, unknown_configurations, begun_within_budget } =
        earlier;
    let most = spoken(hours * 3600.0);
    let mut line = format!(
        "{}, from {runs} earlier run{} of this service: {}",
        launches(plan),
        if runs == 1 { "" } else { "s" },
        match least_hours {
            Some(least) => format!("about {} to {most}", spoken(least * 3600.0)),
            None => format!("about {most}"),
        }
    );
    if unknown_configurations > 0 {
        let _ = write!(
            line,
            " ({unknown_configurations} of {} configurations are new: the others' times stand for \
             theirs)",
            plan.configurations.len()
        );
    }
    wrap(text, line.split(' '), "", "  ", width);
    if let Some((budget, begun)) = limits(plan).zip(begun_within_budget) {
        let cut = cut(plan, begun, begun, "about ");
        let line = format!("budget {budget}: {cut}");
        wrap(text, line.split(' '), "", "  ", width);
    }
}

fn launches(plan: &Plan<'_>) -> String {
    let plural = if plan.launches == 1 { "launch" } else { "launches" };
    format!("{} {plural}", range(plan.launch_range()))
}

/// How long it may take, where nothing was measured.
fn by_assumption(text: &mut String, plan: &Plan<'_>, width: usize) {
    let hours = &plan.estimated_hours;
    let _ = writeln!(
        text,
        "{}, {} to {} (assumed, not measured)",
        launches(plan),
        spoken(hours.low * 3600.0),
        spoken(hours.high * 3600.0)
    );
    if let Some((budget, begun)) = limits(plan).zip(plan.begun_within_budget) {
        let cut = cut(plan, begun.least, begun.most, "");
        let line = format!("budget {budget}: {cut}{} (assumed)", first(plan));
        wrap(text, line.split(' '), "", "  ", width);
    }
    let assumed = format!("assumed: {}", hours.assumptions.join("; "));
    wrap(text, assumed.split(' '), "  ", "  ", width);
}

/// What a budget that allows so many launches leaves of them.
fn cut(plan: &Plan<'_>, least: u64, most: u64, about: &str) -> String {
    let (fewest, all) = plan.launch_range();
    let of = range((fewest, all));
    if least >= all {
        return format!("all {of} launches are begun within it");
    }
    let ends = if most < fewest {
        format!("ends the sweep after {about}{} of {of} launches", range((least, most)))
    } else {
        format!("may end the sweep after {about}{least} of {of} launches")
    };
    // Of one that chooses nothing its own advice says what is never launched.
    let chosen = plan.least_launches.and(plan.chosen());
    match chosen.map(|it| (it.first_block, it.strategy)) {
        // A model launches a part of them first, and how many is not known beforehand.
        Some((_, "model")) if least < fewest => format!("{ends}, in its screen"),
        Some((first, name)) if least < first && name != "model" => {
            format!("{ends}, in its first block of {first}")
        }
        Some((first, "adaptive")) if most == first => format!("{ends}, before its second block"),
        Some(_) if most <= fewest => format!("{ends}, before its duels begin"),
        Some(_) => format!("{ends}, before its duels are over"),
        None => ends,
    }
}

/// `8.0 h, 40 launches, 16 GPU hours`; `None` where nothing is limited.
fn limits(plan: &Plan<'_>) -> Option<String> {
    let time = plan.budget_hours.map(|hours| spoken(hours * 3600.0));
    let besides = plan.budget.as_ref();
    let count = besides.and_then(|it| it.limits.launches).map(|it| match it {
        1 => "1 launch".to_owned(),
        several => format!("{several} launches"),
    });
    let gpus = besides.and_then(|it| {
        let hours = it.limits.gpu_hours?;
        Some(format!("{hours} GPU hours ({} a launch)", gpus_of(it.mean_gpus)))
    });
    let all: Vec<String> = [time, count, gpus].into_iter().flatten().collect();
    let strategy = plan.strategy_budget.map_or_else(String::new, |it| {
        format!(", of which the strategy has {}", confirmation::limits(it))
    });
    (!all.is_empty()).then(|| all.join(", ") + &strategy)
}

fn gpus_of(mean: f64) -> String {
    let shown = ((mean * 10.0).round() / 10.0).to_string();
    let unit = if shown == "1" { "GPU" } else { "GPUs" };
    format!("{shown} {unit}")
}

/// Which part of several ends it first.
fn first(plan: &Plan<'_>) -> String {
    let ends = plan.budget.iter().flat_map(|it| &it.ends_first).map(|it| it.as_str());
    match ends.collect::<Vec<_>>().as_slice() {
        [] => String::new(),
        [one] => format!(", by its {one}"),
        several => format!(", by its {}", several.join(" or ")),
    }
}

fn head(text: &mut String, plan: &Plan<'_>) {
    let count = plan.configurations.len();
    let names =
        plan.configurations.iter().map(|it| 1 + it.configuration.aliases.len()).sum::<usize>();
    let simulated = if plan.engine == "simulated" { ", figures will be simulated" } else { "" };
    let _ = write!(text, "{}: {count} ", plan.name);
    text.push_str(if count == 1 { "configuration" } else { "configurations" });
    let _ = writeln!(text, " on the engine `{}`{simulated}", plan.engine);
    if names > count {
        let _ = writeln!(
            text,
            "{names} names: those that ask for the same are one configuration with several names"
        );
    }
    if let Some(baseline) = plan.baseline {
        let _ = writeln!(text, "baseline: {baseline}");
    }
    text.push('\n');
}

fn configuration(
    text: &mut String,
    number: usize,
    planned: &Planned<'_>,
    command: &str,
    width: usize,
) {
    let configuration = planned.configuration;
    let mark = if planned.baseline { "  (baseline)" } else { "" };
    let _ = writeln!(text, "{number:>3}  {}{mark}  id {}", configuration.name, configuration.id);
    if !configuration.aliases.is_empty() {
        let also = format!("the same as: {}", configuration.aliases.join(", "));
        wrap(text, also.split(' '), "     ", "       ", width);
    }
    if !configuration.stack.is_own() {
        let stack = configuration.stack.to_string();
        wrap(text, stack.split(' '), "     ", "       ", width);
    }
    let variables = configuration
        .environment
        .iter()
        .map(|(name, value)| format!("{name}={}", shell_words::quote(value)));
    let arguments = planned.argv();
    // A flag and its values stay on one line where they fit.
    let mut words: Vec<String> = variables.chain([command.to_owned()]).collect();
    for argument in &arguments {
        let quoted = shell_words::quote(argument);
        match words.last_mut() {
            Some(last) if !argument.starts_with("--") && last.starts_with("--") => {
                last.push(' ');
                last.push_str(&quoted);
            }
            _ => words.push(quoted.into_owned()),
        }
    }
    wrap(text, words.iter().map(String::as_str), "     ", "       ", width);
}

/// Words in lines of at most `width` columns; a longer word has its own line.
fn wrap<'a>(
    text: &mut String,
    words: impl Iterator<Item = &'a str>,
    first: &str,
    next: &str,
    width: usize,
) {
    let mut line = String::from(first);
    let mut empty = true;
    for word in words {
        let needed = line.chars().count() + word.chars().count() + usize::from(!empty);
        if !empty && needed > width {
            text.push_str(line.trim_end());
            text.push('\n');
            line.clear();
            line.push_str(next);
            empty = true;
        }
        if !empty {
            line.push(' ');
        }
        line.push_str(word);
        empty = false;
    }
    text.push_str(line.trim_end());
    text.push('\n');
}

/// One decimal below 10 %.
fn percent(share: f64) -> String {
    match share * 100.0 {
        percent if percent < 9.95 => format!("{percent:.1}%"),
        percent => format!("{percent:.0}%"),
    }
}
