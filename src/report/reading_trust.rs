//! TRUST: how far to trust the reading, in sentences with figures.

use super::reading_lines::Block;
use super::spoken::{self, GLUE, glued, plain_sentence};
use crate::clean::counted;
use crate::history::journal;
use crate::results::chosen::Chosen;
use crate::results::confirmed::ConfirmedGain;
use crate::results::machine::{Conclusion, DesignLimit, Detectable, Jump, MachineReport};
use crate::results::number;
use crate::results::reading::next::MOST_LAUNCHES;
use crate::results::reading::{NoDecision, Reading, Statement, Trust};

pub(super) fn put(block: &mut Block, reading: &Reading) {
    let trust = &reading.trust;
    let mut add = |sentences: Vec<String>| {
        if !sentences.is_empty() {
            block.put("TRUST", &sentences);
        }
    };
    let result = trust.confirmation.as_ref().is_some_and(ConfirmedGain::is_result);
    add(trust.confirmation.as_ref().map_or_else(Vec::new, confirmation));
    add(before(&trust.confirmed_before));
    add(trust.replaced.iter().map(|it| format!("{}.", plain_sentence(&it.to_string()))).collect());
    add(trust.gated.iter().map(|it| format!("{}.", plain_sentence(&it.to_string()))).collect());
    add(trust.not_counted.iter().map(|it| format!("{it}.")).collect());
    add(trust.taken.iter().map(|it| format!("{it}.")).collect());
    // A confirmation says nothing of how its candidate was chosen.
    let choice = reading.choice.as_ref();
    let has_another = choice.is_some_and(|it| it.p_within_5_percent.is_some() && it.of > 1);
    let used = choice.map(|it| it.candidate.as_ref().unwrap_or(&it.configuration).as_str());
    add(trust.chosen.as_ref().map_or_else(Vec::new, |it| by_choice(it, used, has_another)));
    if !result {
        add(design(trust));
        add(once(trust));
    }
    add(trust.machine.as_ref().map_or_else(Vec::new, |it| machine(it, trust)));
    add(trust.witness.iter().map(|it| format!("{}.", plain_sentence(&it.to_string()))).collect());
    let cause = match &reading.result {
        Statement::NoDecision { cause: NoDecision::Missing(missing) } => Some(&missing.metric),
        _ => None,
    };
    for named in &trust.remarks {
        add(vec![format!("{}: {}.", spoken::name_of(&named.configuration), named.remark)]);
    }
    for missing in trust.missing.iter().filter(|it| Some(&it.metric) != cause) {
        add(vec![format!(
            "{} is missing in {}, of {} of {}.",
            spoken::metric(&missing.metric),
            counted(missing.repeats, "repeat"),
            missing.configurations.len(),
            counted(missing.of, "configuration")
        )]);
    }
}

/// `7 + 7 launches A B A B, 02:10-04:35.`
fn confirmation(gain: &ConfirmedGain) -> Vec<String> {
    let times = gain.from.zip(gain.until).map_or_else(String::new, |(from, until)| {
        format!(", {}-{}{GLUE}UTC", from.strftime("%H:%M"), until.strftime("%H:%M"))
    });
    let (candidate, baseline) = (gain.launches.candidate, gain.launches.baseline);
    let mut sentences = vec![format!("{candidate} + {baseline} launches A B A B{times}.")];
    sentences.extend(nodes(&gain.nodes));
    let failed = gain.failed.candidate + gain.failed.baseline;
    if failed > 0 {
        sentences.push(format!(
            "{failed} more failed: {} of the candidate, {} of the baseline.",
            gain.failed.candidate, gain.failed.baseline
        ));
    }
    let wanted = gain.claim * 50.0;
    if gain.can_go_on() {
        let pairs = counted(gain.pairs, "pair");
        sentences.push(format!("The confirmation is not over ({pairs} so far)."));
    } else if !gain.is_result() {
        let why = gain.why_ended().unwrap_or_default();
        sentences
            .push(format!("The confirmation ended without a result: {}.", spoken::clean(&why)));
    } else if !gain.is_precise() {
        sentences.push(format!("It ended before the interval was within {wanted:.0}%."));
    }
    sentences
}

/// `They ran on the nodes n1 and n2.`
fn nodes(nodes: &[String]) -> Option<String> {
    const NAMED: usize = 6;
    match nodes {
        [] => None,
        [one] => Some(format!("They ran on the node {one}.")),
        [all @ .., last] if all.len() < NAMED => {
            Some(format!("They ran on the nodes {} and {last}.", all.join(", ")))
        }
        all => {
            let (first, more) = (all[..NAMED].join(", "), all.len() - NAMED);
            Some(format!("They ran on the nodes {first} and {more} more."))
        }
    }
}

/// `This is confirmation 2 of 2 of this pair; the first gave +3% [-2%, +8%].`
fn before(earlier: &[ConfirmedGain]) -> Vec<String> {
    let latest = earlier.iter().rev().take(3).rev();
    let gains: Vec<String> = latest.filter_map(ConfirmedGain::percent).collect();
    let gave = match earlier {
        [] => return Vec::new(),
        [_] => "the first gave".to_owned(),
        all if all.len() > gains.len() => format!("the {} before it gave", gains.len()),
        _ => "the others gave".to_owned(),
    };
    let of = earlier.len() + 1;
    let gains: Vec<String> = gains.iter().map(|it| glued(it)).collect();
    vec![format!("This is confirmation {of} of {of} of this pair; {gave} {}.", gains.join(", "))]
}

/// `4 launches x 3 repeats. Differences under about 9% cannot be seen so; ...`
fn design(trust: &Trust) -> Vec<String> {
    let Some((least, most)) = trust.launches else { return Vec::new() };
    let launches = match (least, most) {
        (least, most) if least == most => counted(least, "launch"),
        (least, most) => format!("{least} to {most} launches"),
    };
    let repeats = match trust.repeats {
        Some(repeats) => format!(" x {}", counted(repeats, "repeat")),
        None => String::new(),
    };
    let design = format!("{launches}{repeats}.");
    let detectable = trust.detectable.as_ref().map(|it| match &trust.chosen {
        None => detectable(it),
        Some(chosen) => among(it, chosen),
    });
    std::iter::once(design).chain(detectable).collect()
}

/// How launches were chosen, and why the strategy wanted no more. What it held for probable then
/// is another figure than the one above, where there is one (`has_another`), and may be of another
/// configuration than the one that is to be `used`.
fn by_choice(chosen: &Chosen, used: Option<&str>, has_another: bool) -> Vec<String> {
    let over = chosen.ended.as_ref();
    let ended = over.filter(|it| it.complete);
    let why = ended.map(|it| format!("Why it ended, by its own reckoning then: {}.", it.reason));
    let cut = over.and_then(|it| {
        let (reason, remark) = journal::budget_and_remark(&it.reason);
        Some(format!("When it ended ({reason}): {}.", remark?))
    });
    let another = why.is_some() && has_another;
    let another = another.then(|| {
        "The probability under USE is reckoned afterwards, and counts every ranked configuration \
         as a rival."
            .to_owned()
    });
    // `13 launches are made, and no more may be; seqs16 is within ...`
    let held = ended.and_then(|it| it.reason.split_once(" is within")?.0.rsplit("; ").next());
    let is_other = used.zip(held).is_some_and(|(used, held)| used != held);
    let other = is_other.then(|| {
        "That names another configuration than USE, which is preferred among the best means of all \
         launches."
            .to_owned()
    });
    let ends = why.into_iter().chain(cut);
    std::iter::once(format!("{chosen}.")).chain(ends).chain(other).chain(another).collect()
}

/// Where launches were chosen, more of each are no advice.
fn among(it: &Detectable, chosen: &Chosen) -> String {
    let among = format!("Between those with {} launches or more", chosen.claimed_from);
    if it.difference > 1.0 {
        return format!("{among} even a difference of 100% cannot be seen.");
    }
    format!("{among} differences under about {:.0}% cannot be seen.", it.difference * 100.0)
}

fn detectable(it: &Detectable) -> String {
    let percent = |fraction: f64| format!("{:.0}%", fraction * 100.0);
    if it.difference > 1.0 {
        return "Even a difference of 100% cannot be seen so.".to_owned();
    }
    let more = if it.needed_launches > MOST_LAUNCHES {
        format!("; more than {MOST_LAUNCHES} launches would show {}", percent(it.wanted))
    } else if it.needed_launches > it.launches {
        let (needed, wanted) = (it.needed_launches, percent(it.wanted));
        format!("; about {needed} launches of each would show {wanted}")
    } else {
        String::new()
    };
    format!("Differences under about {} cannot be seen so{more}.", percent(it.difference))
}

fn once(trust: &Trust) -> Vec<String> {
    let assumed = trust.assumed_deviation.map(|deviation| {
        let percent = deviation * 100.0;
        format!("{percent:.0}% between launches is assumed: nothing was launched twice.")
    });
    if let Some(chosen) = &trust.chosen {
        let (needed, few) = (chosen.claimed_from, chosen.unclaimed);
        let few = match few {
            0 => None,
            1 => Some(("1 configuration was".to_owned(), "it is")),
            many => Some((format!("{many} configurations were"), "they are")),
        };
        let few = few.map(|(were, it)| {
            format!("{were} launched fewer than {needed} times: {it} in no claim.")
        });
        return few.into_iter().chain(assumed).collect();
    }
    match assumed {
        Some(assumed) => vec![assumed],
        // Where all were, the result says so.
        None if trust.launched_once == 0 || trust.launches == Some((1, 1)) => Vec::new(),
        None if trust.launched_once == 1 => {
            vec!["1 configuration was launched once: it is in no claim.".to_owned()]
        }
        None => vec![format!(
            "{} configurations were launched once: they are in no claim.",
            trust.launched_once
        )],
    }
}

fn machine(machine: &MachineReport, trust: &Trust) -> Vec<String> {
    let limits: Vec<String> = trust.limits.iter().map(limit).collect();
    let slower = machine.hosts.iter().filter_map(|it| it.slower.as_ref());
    let slower = slower
        .map(|it| format!("{}, which is taken out.", it.to_string().replacen("host", "Host", 1)));
    let limits = slower.chain(inside(&machine.moved_inside)).chain(limits);
    match machine.conclusion {
        Conclusion::Moved => moved(machine).into_iter().chain(limits).collect(),
        Conclusion::Calm => {
            let subject = if machine.moved_inside.is_empty() {
                "The machine is"
            } else {
                "Between launches the machine is"
            };
            let p = number::probability(machine.p_calm);
            let calm = format!("{subject} not shown to have moved (calm with probability {p}).");
            std::iter::once(calm).chain(limits).collect()
        }
        // What cannot be seen is a limit of the design, which says what to do.
        Conclusion::Unknown => limits.collect(),
    }
}

/// `The machine moved inside launch 4.`
fn inside(launches: &[u32]) -> Option<String> {
    const NAMED: usize = 5;
    let named: Vec<String> = launches.iter().take(NAMED).map(u32::to_string).collect();
    match (launches, launches.len().saturating_sub(NAMED)) {
        ([], _) => None,
        ([one], _) => Some(format!("The machine moved inside launch {one}.")),
        (_, 0) => Some(format!("The machine moved inside launches {}.", named.join(", "))),
        (_, more) => {
            Some(format!("The machine moved inside launches {} and {more} more.", named.join(", ")))
        }
    }
}

fn moved(machine: &MachineReport) -> Vec<String> {
    // Files and reports are the same wherever they are read.
    let zone = if machine.jumps.iter().all(|it| it.at.is_some()) { " UTC" } else { "" };
    let jumps = match machine.jumps.as_slice() {
        [] => String::new(),
        [jump] => format!(", 1{GLUE}jump ({jump}{zone})"),
        jumps => {
            let times: Vec<String> = jumps.iter().map(Jump::to_string).collect();
            format!(", {}{GLUE}jumps ({}{zone})", jumps.len(), times.join(", "))
        }
    };
    vec![
        format!(
            "The machine moved: speed range x{:.1}, SD {:.0}%{jumps}.",
            machine.speed_range,
            machine.deviation * 100.0
        ),
        format!(
            "That was {:.0}% of the variance between launches, and is taken out.",
            machine.share * 100.0
        ),
    ]
}

fn limit(limit: &DesignLimit) -> String {
    match limit {
        DesignLimit::OneAfterTheOther => {
            "Machine and configuration are not separated: all launches of one came before all of \
             the other."
                .to_owned()
        }
        DesignLimit::FewLaunches { launches } => {
            let launches = counted(*launches, "launch");
            format!(
                "{launches} of each cannot show jumps of the machine: launch 3 \
                 times or more."
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn launches_inside_which_the_machine_moved_are_named() {
        assert_eq!(inside(&[]), None);
        assert_eq!(inside(&[4]).as_deref(), Some("The machine moved inside launch 4."));
        let many = inside(&[1, 2, 3, 4, 5, 6, 7]);
        let said = "The machine moved inside launches 1, 2, 3, 4, 5 and 2 more.";
        assert_eq!(many.as_deref(), Some(said));
    }
}
