//! The block that a person reads first: labels in the first nine columns, text from
//! column ten (`PRODUCTION` is longer, and comes first). What it says is decided in [`crate::results::reading`]; here each part is
//! worded in sentences of at most 25 words, and no line breaks a word.

use super::reading_lines::Block;
use super::spoken::{self, GLUE, gain, glued};
use super::{front, no_claim, not_confirmed, reading_next, reading_trust};
use crate::clean;
use crate::history::extent::{Confirming, Extent, State};
use crate::history::launch::FailureClass;
use crate::metric::Constraint;
use crate::results::bounded::{Bounded, ConstraintVerdict};
use crate::results::decision::{Criterion, PassedOver};
use crate::results::number;
use crate::results::reading::failed::{Cause, FailedGroup};
use crate::results::reading::next::NextStep;
use crate::results::reading::{Choice, NoDecision, Reading, Statement, Varied, Why};

/// The mark of simulated figures, above the block and above the table.
pub(super) const SIMULATED: &str = "SIMULATED  no figure here comes from a GPU";

/// Names of a group that are written out.
const NAMES: usize = 3;

/// The block as text of at most `columns` columns (at least 40 and at most 100 are used;
/// paths and arguments that are longer stay whole). Ends with a newline.
pub fn render(reading: &Reading, columns: usize) -> String {
    block(reading, columns).text()
}

/// The result in one line, and what to use: for who reads nothing else.
pub fn in_short(reading: &Reading) -> (String, Option<String>) {
    let used = reading.choice.as_ref().map(|it| it.configuration.clone());
    (statement(reading).replace(GLUE, " "), used)
}

/// The block before it is broken into lines: a page has the same words.
pub(super) fn block(reading: &Reading, columns: usize) -> Block {
    let mut block = Block::of(columns);
    if reading.simulated {
        block.raw(SIMULATED);
    }
    production(&mut block, reading);
    partial(&mut block, reading);
    block.put("RESULT", &[statement(reading)]);
    if let Some(front) = &reading.front {
        block.put("RESULT", &front::sentences(front));
    }
    for why in &reading.why {
        block.put("WHY", &[self::why(why)]);
    }
    // Without a decision the grid is to be changed: what follows from the reason comes first.
    let mut steps = reading.next.iter().filter(|it| !matches!(it, NextStep::Recover { .. }));
    let fix = reading.choice.is_none() && matches!(steps.next(), Some(NextStep::Change { .. }));
    if fix {
        reading_next::put(&mut block, "FIX", reading);
    }
    if let Some(choice) = &reading.choice {
        use_it(&mut block, reading, choice);
    }
    let candidate = reading.choice.as_ref().is_some_and(|it| it.candidate.is_some());
    let of = if candidate { "candidate: " } else { "" };
    for bounded in &reading.bounds {
        block.put("BOUNDS", &[format!("{of}{}", bound(bounded))]);
    }
    reading_trust::put(&mut block, reading);
    for group in &reading.failed {
        block.put("FAILED", &[failed(&block, group)]);
    }
    if !fix {
        reading_next::put(&mut block, "NEXT", reading);
    }
    block
}

/// What the run owes comes before what it showed.
fn production(block: &mut Block, reading: &Reading) {
    let Some(owed) = &reading.production else { return };
    let at = glued(&owed.stopped_at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string());
    let started = if owed.started { " started again," } else { "" };
    let who = block.plain(&owed.who());
    block.put("PRODUCTION", &[format!("{who} was stopped at {at},{started} not proven since.")]);
}

fn partial(block: &mut Block, reading: &Reading) {
    let Some(extent) = &reading.partial else { return };
    let state = match &extent.state {
        State::Complete => return,
        State::Running => "The sweep is running.".to_owned(),
        State::Waiting => format!("The sweep {}.", waits(extent)),
        State::Interrupted => "The sweep was interrupted.".to_owned(),
        State::BudgetSpent => "The budget ended the sweep.".to_owned(),
        State::Stopped { reason } => {
            // A reason may be a sentence, or a part of one.
            format!("The sweep stopped: {}.", block.plain(reason).trim_end_matches('.'))
        }
    };
    let launches = format!("{} launches are over.", extent.launches());
    let confirms = match extent.confirmation {
        Some(Confirming::Running) => Some("A confirmation is running.".to_owned()),
        Some(Confirming::Waiting) => Some(format!("A confirmation {}.", waits(extent))),
        Some(Confirming::Pending) => Some("The confirmation was not begun.".to_owned()),
        Some(Confirming::Interrupted) | None => None,
    };
    let unfinished = |names: &[String], what: &str| {
        (!names.is_empty()).then(|| format!("{what}, not finished: {}.", listed(names)))
    };
    let running = unfinished(&reading.unfinished.running, "Running");
    let interrupted = unfinished(&reading.unfinished.interrupted, "Interrupted");
    let further = running.into_iter().chain(interrupted).chain(confirms).chain(jobs(extent));
    let sentences: Vec<String> = [launches, state].into_iter().chain(further).collect();
    block.put("PARTIAL", &sentences);
}

/// What a controller that died left on the cluster.
fn jobs(extent: &Extent) -> Option<String> {
    let jobs = clean::plural(extent.jobs.len(), "job");
    (!extent.jobs.is_empty()).then(|| {
        format!(
            "Nobody follows {jobs} {}, which may still run: resume takes up what runs, recover \
             cancels it.",
            listed(&extent.jobs)
        )
    })
}

/// `waits for its window 23:00-06:30, until Sat 23:00`.
fn waits(extent: &Extent) -> String {
    let waits = extent.waits.as_ref();
    let window = waits.and_then(|it| it.window).map(|it| format!("{GLUE}{it}"));
    let until = waits.and_then(|it| it.until.as_ref());
    let until = until.map(|it| format!(", until {}", glued(&it.strftime("%a %H:%M").to_string())));
    format!("waits for its window{}{}", window.unwrap_or_default(), until.unwrap_or_default())
}

fn statement(reading: &Reading) -> String {
    let name = |name: &str| spoken::name_of(name);
    let best = |candidate: &str| format!("Best estimate: {}.", name(candidate));
    match &reading.result {
        Statement::Better { configuration, baseline, confirmed, open } => {
            let (a, b) = (name(configuration), name(baseline));
            let open = match open.as_slice() {
                [] => String::new(),
                open => format!(" Whether it keeps {} is not shown.", spoken::bounds_of(open)),
            };
            let how = match (confirmed, reading.confirmable) {
                (true, _) => ": confirmed on fresh launches",
                (false, true) => ": not yet confirmed on fresh launches",
                (false, false) => "",
            };
            format!("{a} is {} {b}{how}.{open}", spoken::better(&reading.metric, reading.goal))
        }
        Statement::BoundBroken { .. }
        | Statement::Unfit { .. }
        | Statement::NotConfirmed { .. } => not_confirmed::sentence(reading).unwrap_or_default(),
        Statement::NotShown { baseline, candidate } => {
            format!("No difference to {} is shown. {}", name(baseline), best(candidate))
        }
        Statement::BaselineIsBest { baseline, of, unclaimed, worse: 0, .. } => format!(
            "Nothing better than {} was found. {of} of {of} {} are not distinguishable.",
            name(baseline),
            those(*unclaimed)
        ),
        Statement::BaselineIsBest { baseline, of, unclaimed: _, worse, best, behind } => {
            let behind = behind.as_ref().map(|it| {
                let (figure, word) = gain(it.effect, reading.goal, &reading.metric);
                format!(" The next is {}: {figure}{word}.", name(&it.configuration))
            });
            let than = best.as_deref().map(|it| format!(" than {}, the best mean", name(it)));
            format!(
                "Nothing better than {} was found. {worse} of {} others are shown to be worse{}.{}",
                name(baseline),
                of.saturating_sub(1),
                than.unwrap_or_default(),
                behind.unwrap_or_default()
            )
        }
        Statement::BaselineNotRanked { baseline, candidate, .. } => {
            format!("No gain can be stated: {} has no rank. {}", name(baseline), best(candidate))
        }
        Statement::First { configuration, of, unclaimed } => format!(
            "{} is the best of {of} {}: the others are shown to be worse.",
            name(configuration),
            those(*unclaimed)
        ),
        Statement::NotDistinguishable { configurations, of, unclaimed } => {
            let first = configurations.first().map(String::as_str).unwrap_or_default();
            let count = configurations.len();
            let those = those(*unclaimed);
            format!("{count} of {of} {those} are not distinguishable. {}", best(first))
        }
        Statement::Only { configuration, of: 1 } => {
            format!("Nothing to compare: {} is the only configuration.", name(configuration))
        }
        Statement::Only { configuration, of } => format!(
            "Nothing to compare: {} is the only one of {of} with a rank.",
            name(configuration)
        ),
        Statement::LaunchedOnce { candidate, once, of } => {
            let were = if *once == 1 { "was" } else { "were" };
            format!(
                "Insufficient data: {once} of {of} configurations {were} launched once. {}",
                best(candidate)
            )
        }
        Statement::NoClaim { .. } => no_claim::sentence(&reading.result).unwrap_or_default(),
        Statement::NoDecision { cause } => format!("No decision: {}.", undecided(cause)),
    }
}

/// Those that a claim can be about.
fn those(unclaimed: usize) -> &'static str {
    if unclaimed == 0 { "configurations" } else { "configurations with enough launches" }
}

fn undecided(cause: &NoDecision) -> String {
    match cause {
        NoDecision::NoConfiguration => "the sweep has 0 configurations".to_owned(),
        NoDecision::Unswept(unswept) => unswept.to_string(),
        NoDecision::NotLaunched { of } => {
            format!("0 of {of} configurations were launched so far")
        }
        NoDecision::Missing(missing) => {
            let baseline = if missing.baseline { ", the baseline included" } else { "" };
            format!(
                "{} is missing for {} of {}{baseline}",
                spoken::metric(&missing.metric),
                missing.configurations.len(),
                missing.of
            )
        }
        NoDecision::AllFailed { of, not_launched } => all_failed(*of, *not_launched),
        NoDecision::BoundsBroken { of: 1 } => "the only configuration breaks a bound".to_owned(),
        NoDecision::BoundsBroken { of } => format!("all {of} configurations break a bound"),
        NoDecision::NotCarried { configurations } => match configurations.as_slice() {
            [one] => format!("that {} is first is not shown", spoken::name_of(one)),
            several => format!("nothing is shown between {} configurations", several.len()),
        },
        NoDecision::Excluded { of } => format!("0 of {of} configurations have a rank"),
    }
}

/// What was not launched did not fail.
fn all_failed(of: usize, not_launched: usize) -> String {
    let failed = of.saturating_sub(not_launched);
    match (failed, not_launched) {
        (1, 0) => "the only configuration failed".to_owned(),
        (_, 0) => format!("all {of} configurations failed"),
        (0, _) => format!("0 of {of} configurations were launched"),
        (_, 1) => format!("{failed} of {of} configurations failed, and 1 was not launched"),
        _ => {
            format!("{failed} of {of} configurations failed, and {not_launched} were not launched")
        }
    }
}

fn why(why: &Why) -> String {
    match why {
        Why::Reason { text } => {
            let text = spoken::plain_sentence(text);
            if text.ends_with(['.', '!', '?']) { text } else { format!("{text}.") }
        }
        Why::Bound { configuration, bounded } => {
            format!("nearest is {}: {}", spoken::name_of(configuration), bound(bounded))
        }
    }
}

fn use_it(block: &mut Block, reading: &Reading, choice: &Choice) {
    let name = spoken::name_of(&choice.configuration);
    let keep = if choice.is_baseline { "keep " } else { "" };
    let gap = glued("   ");
    let line = match (&choice.candidate, &choice.gain) {
        (Some(candidate), it) => {
            let candidate = spoken::name_of(candidate);
            let gain = it.as_ref().map_or(String::new(), |it| {
                let mark = if it.confirmed { "fresh launches" } else { "unconfirmed" };
                let (figure, word) = gain(it.effect, reading.goal, &reading.metric);
                // Where no difference is shown, nothing is called better.
                let shown = !matches!(
                    reading.result,
                    Statement::NotShown { .. } | Statement::NoClaim { .. }
                );
                let word = if shown { word } else { "" };
                format!("{GLUE} {figure}{word}, {mark}")
            });
            format!("{keep}{name}{gap} candidate: {candidate}{gain}")
        }
        (None, Some(it)) => {
            let mark = if it.confirmed { "" } else { ", unconfirmed" };
            let (figure, word) = gain(it.effect, reading.goal, &reading.metric);
            let metric = spoken::metric(&reading.metric);
            format!("{keep}{name}{gap} {figure} {metric}{word}{mark}")
        }
        (None, None) => format!("{keep}{name}"),
    };
    block.put("USE", &[line]);
    if !(choice.is_baseline && choice.candidate.is_none()) {
        let prefix = choice.candidate.as_ref().map(|_| "candidate:");
        let parts = arguments(&choice.launch);
        if !parts.is_empty() {
            block.whole("USE", prefix, &parts);
        }
        // Not on the line of the arguments: what is pasted from there is passed to vLLM.
        for flag in &choice.launch.without {
            block.whole("USE", prefix, &[spoken::clean(&format!("without{GLUE}--{flag}"))]);
        }
    }
    let reasons = if choice.all_zero {
        format!("every value of {} is 0: there is no best mean", spoken::metric(&reading.metric))
    } else {
        reasons(choice, &reading.run)
    };
    if !reasons.is_empty() {
        block.put("USE", &[reasons]);
    }
}

/// Arguments with their values, and variables.
fn arguments(launch: &Varied) -> Vec<String> {
    let mut parts: Vec<String> = Vec::new();
    for argument in &launch.arguments {
        let quoted = shell_words::quote(argument).into_owned();
        match parts.last_mut() {
            Some(last) if !argument.starts_with("--") => {
                last.push(GLUE);
                last.push_str(&quoted);
            }
            _ => parts.push(quoted),
        }
    }
    let variables = launch.environment.iter();
    parts.extend(variables.map(|(name, value)| format!("{name}={}", shell_words::quote(value))));
    parts.extend(launch.stack.shown());
    parts.iter().map(|part| spoken::clean(part)).collect()
}

/// Why this one.
fn reasons(choice: &Choice, run: &str) -> String {
    let near = choice.p_within_5_percent.filter(|_| choice.of > 1);
    let near =
        near.map(|p| format!("within 5% of the best with probability {}", number::probability(p)));
    let why = if let Some(PassedOver { configuration, launches }) = &choice.passed_over {
        let ahead = spoken::name_of(configuration);
        let launches = glued(&clean::counted(*launches, "launch"));
        let how = choice.gain.as_ref().map(|_| {
            let (run, named) = (shell_words::quote(run), shell_words::quote(configuration));
            let command = format!("`vllm-grid confirm {run} --configuration {named}`");
            format!(" ({} confirms it)", glued(&spoken::clean(&command)))
        });
        Some(format!(
            "the best mean of those with enough launches or in the last duels; {ahead} is ahead by \
             {launches} alone, which may be chance{}",
            how.unwrap_or_default()
        ))
    } else if choice.within_1_percent > 1 {
        let among = choice.within_1_percent;
        Some(format!("of {among} within 1% of the best mean {}", criterion(choice.criterion)))
    } else if choice.candidate.is_none() && choice.of > 1 {
        Some(format!("the best mean of {}", choice.of))
    } else {
        None
    };
    why.into_iter().chain(near).collect::<Vec<_>>().join("; ")
}

fn criterion(criterion: Criterion) -> &'static str {
    match criterion {
        Criterion::WithinBounds => "the one within all bounds",
        Criterion::FewerFailures => "the one with fewer failures",
        Criterion::LessMemory => "the one with less gpu-memory-utilization",
        Criterion::FewerChangedFlags => "the one nearest to the baseline's flags",
        Criterion::Mean => "the best one",
    }
}

/// `median TTFT at 8 in flight 812 ms, limit 1500 ms: within`.
fn bound(bounded: &Bounded) -> String {
    let unit = number::unit(&bounded.metric);
    let limits: Vec<String> = bounded.bounds.iter().map(|it| limit(it, unit)).collect();
    let open = bounded.verdict == ConstraintVerdict::NotShown;
    let figure = match &bounded.estimate {
        Some(it) if open => number::estimate(it, unit),
        Some(it) => number::estimate_of(it.mean, None, false, unit),
        None => "-".to_owned(),
    };
    let metric = spoken::metric(&bounded.metric);
    let verdict = word(bounded.verdict);
    format!("{metric} {}, {}: {}", glued(&figure), glued(&limits.join(" and ")), glued(verdict))
}

fn limit(bound: &Constraint, unit: &str) -> String {
    let with_unit = |text: String| {
        if unit.is_empty() { text } else { format!("{text} {unit}") }
    };
    match (bound.min.map(number::given), bound.max.map(number::given)) {
        (Some(min), Some(max)) => with_unit(format!("limits {min} to {max}")),
        (Some(min), None) => with_unit(format!("minimum {min}")),
        (None, Some(max)) => with_unit(format!("limit {max}")),
        (None, None) => "no limit".to_owned(),
    }
}

/// The word for a bound, in the block and in the tables.
pub(super) fn word(verdict: ConstraintVerdict) -> &'static str {
    match verdict {
        ConstraintVerdict::Holds => "within",
        ConstraintVerdict::NotShown => "not shown",
        ConstraintVerdict::NotMeasured => "not measured",
        ConstraintVerdict::Violated => "broken",
    }
}

fn failed(block: &Block, group: &FailedGroup) -> String {
    let names = match &group.pattern {
        Some(pattern) => spoken::name_of(pattern),
        None => listed(&group.configurations),
    };
    let count = match (group.lived, group.repeats) {
        (Some(it), _) if group.ranked => glued(&lived(it.lived, it.launches)),
        (_, Some(repeats)) if group.ranked => glued(&clean::counted(repeats, "repeat")),
        _ => {
            let of = clean::counted(group.of, "configuration");
            let of = glued(&format!("{} of {of}", group.count()));
            let some = group.lived.filter(|it| it.lived > 0);
            let some = some.map(|it| lived(it.lived, it.launches));
            some.map_or(of.clone(), |some| format!("{of}, {}", glued(&some)))
        }
    };
    let advice = match (group.advice, group.estimated_max_model_len) {
        (Some(advice), Some(tokens)) => format!(": {advice} to {tokens} or less"),
        (Some(advice), None) => format!(": {advice}"),
        (None, _) => String::new(),
    };
    let cause = if group.passed {
        "the environment allowed no launch for a time".to_owned()
    } else {
        cause(block, &group.cause)
    };
    format!("{names}: {cause} ({count}){advice}")
}

fn lived(lived: u32, launches: u32) -> String {
    format!("{lived} of {} lived", clean::counted(launches, "launch"))
}

fn listed(names: &[String]) -> String {
    let shown: Vec<String> = names.iter().take(NAMES).map(|name| spoken::name_of(name)).collect();
    match names.len().saturating_sub(NAMES) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

fn cause(block: &Block, cause: &Cause) -> String {
    match cause {
        Cause::Launch { class } => class_words(*class).to_owned(),
        Cause::Skipped { reason } => format!("skipped, {}", block.plain(reason)),
        Cause::Repeats => "repeats failed".to_owned(),
        Cause::NotMeasured { metric } => format!("{} was not measured", spoken::metric(metric)),
        Cause::Values { metric } => format!("too few values of {}", spoken::metric(metric)),
        Cause::NotPositive { metric } => format!("{} was zero", spoken::metric(metric)),
        Cause::LoopsUnderLoad => "answers loop under load".to_owned(),
        Cause::Overridden => "ran with other flags than asked for".to_owned(),
        Cause::BoundBroken { metric } => format!("bound of {} broken", spoken::metric(metric)),
    }
}

fn class_words(class: FailureClass) -> &'static str {
    match class {
        FailureClass::KvCacheTooSmall => "KV cache too small",
        FailureClass::OutOfMemory => "out of GPU memory",
        FailureClass::MemoryNotFree => "GPU memory was not free",
        FailureClass::GpuMemoryChanged => "GPU memory changed while it was measured",
        FailureClass::BadFlag => "a flag is not accepted",
        FailureClass::FlagNotApplied => "a flag did not arrive",
        FailureClass::Credentials => "the hub refused the model",
        FailureClass::NoGpu => "no GPU is visible",
        FailureClass::CompileCache => "the compile cache is corrupt",
        FailureClass::SharedMemory => "shared memory too small",
        FailureClass::EngineDied => "the engine died",
        FailureClass::HostMemory => "out of host memory",
        FailureClass::Killed => "killed by somebody",
        FailureClass::NoProgress => "it made no progress",
        FailureClass::Timeout => "no answer in time",
        FailureClass::TimeLimit => "the job's limit of time ended it",
        FailureClass::Environment => "the environment allows no launch",
        FailureClass::GateFailed => "failed a gate",
        FailureClass::NotServing => "it did not serve as asked",
        FailureClass::Unknown => "cause unknown",
    }
}
