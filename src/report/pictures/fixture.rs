//! Made-up rankings and analyses for the tests of pictures.

use crate::metric::{Goal, MetricRef, Objective, Scale};
use crate::results::analysis::{
    Analysis, Axis, AxisValue, Effects, Figure, HitPair, Hits, Interaction, Ladder, Pareto,
    ParetoPoint, Path, Repeat, Step,
};
use crate::results::decision::{Candidate, Claim, Criterion, Decision};
use crate::results::ranking::{
    Effect, Estimate, RankedConfiguration, Ranking, RankingVerdict, Ratio,
};
use crate::statistics::Interval;

/// The objective of all of them.
pub(super) fn metric() -> MetricRef {
    "load[concurrency=8].median_ttft_ms".parse().unwrap()
}

/// A figure with an interval of some per cent on both sides.
pub(super) fn figure(value: f64, share: f64) -> Figure {
    let half = value.abs() * share;
    let interval = Some(Interval { low: value - half, high: value + half });
    Figure { value, interval, launches: 3, repeats: 9 }
}

/// A number from 0 to 1 that is the same in each run.
fn noise(at: usize) -> f64 {
    let mixed = (at as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ((mixed ^ (mixed >> 29)) % 1000) as f64 / 1000.0
}

/// Name of a made-up configuration.
pub(super) fn name(at: usize) -> String {
    format!("util0.{}-seqs{}-{}", 80 + at % 16, 16 + at, ["chunk", "nochunk"][at % 2])
}

/// A ranking of some names with rising means; the baseline stands at two thirds.
pub(super) fn ranking(names: &[String], means: &[f64]) -> Ranking {
    let baseline = names.len() * 2 / 3;
    let base = means[baseline];
    let row = |at: usize| {
        let (mean, name) = (means[at], names[at].clone());
        let interval = Interval { low: mean * 0.96, high: mean * 1.05 };
        let estimate = Estimate {
            mean,
            geomean: Some(mean),
            interval: Some(interval),
            launches: 3,
            repeats: 9,
            assumed: false,
        };
        let ratio = mean / base;
        let ratio = Ratio { ratio, interval: Interval { low: ratio * 0.95, high: ratio * 1.06 } };
        RankedConfiguration {
            repeats: 9,
            estimates: vec![Some(estimate)],
            baseline_ratio: (at != baseline).then_some(ratio),
            p_baseline: (at != baseline).then_some(if ratio.interval.high < 1.0 {
                0.01
            } else {
                0.6
            }),
            ..bare_row(at, &name, at == baseline)
        }
    };
    let rows: Vec<RankedConfiguration> = (0..names.len()).map(row).collect();
    let tied: Vec<String> = names.iter().take(3).cloned().collect();
    let claim = rows[0].effect().map_or(Claim::IsBaseline, |effect: Effect| Claim::Better {
        baseline: names[baseline].clone(),
        effect,
        p: 0.01,
    });
    let mut ranking = bare_ranking(rows, tied, claim);
    ranking.metrics = vec![metric()];
    ranking.objective.metric = metric();
    if let Some(decision) = &mut ranking.decision {
        decision.candidate.p_within_5_percent = Some(0.9);
    }
    ranking
}

/// A row that has nothing but its name and its place, the first one as the candidate.
pub(super) fn bare_row(at: usize, name: &str, baseline: bool) -> RankedConfiguration {
    RankedConfiguration {
        rank: Some(at as u32 + 1),
        rank_label: Some((at + 1).to_string()),
        name: name.to_owned(),
        id: format!("id{at}"),
        aliases: Vec::new(),
        baseline,
        varied: crate::configuration::Flags::default(),
        eligible: true,
        exclusions: Vec::new(),
        remarks: Vec::new(),
        launches: 3,
        repeats: 15,
        failures: 0,
        failed_repeats: 0,
        void_repeats: 0,
        missing_repeats: 0,
        lived: 3,
        settled: 3,
        failure_class: None,
        estimates: Vec::new(),
        constraints: Vec::new(),
        p_first: None,
        chances: None,
        preferred: at == 0,
        baseline_ratio: None,
        baseline_difference: None,
        p_baseline_alone: None,
        p_baseline: None,
    }
}

/// A ranking of these rows, the `tied` ones not distinguishable, the first row the candidate.
pub(super) fn bare_ranking(
    rows: Vec<RankedConfiguration>,
    tied: Vec<String>,
    claim: Claim,
) -> Ranking {
    let candidate = Candidate {
        configuration: rows.first().map(|it| it.name.clone()).unwrap_or_default(),
        rank: 1,
        within_1_percent: 1,
        criterion: Criterion::Mean,
        p_within_5_percent: None,
        within_bounds: true,
        passed_over: None,
    };
    Ranking {
        sweep: "night".to_owned(),
        simulated: false,
        objective: Objective {
            metric: "kv_cache.ttft_resent_ms".parse().unwrap(),
            goal: Goal::Minimize,
            constraints: Vec::new(),
            further: Vec::new(),
        },
        metrics: Vec::new(),
        constrained: Vec::new(),
        rows,
        verdict: RankingVerdict::Tie { ranks: (1..=tied.len() as u32).collect(), names: tied },
        scale: Scale::Ratios,
        components: None,
        deviations: None,
        decision: Some(Decision { candidate, claim }),
        confirmed: Vec::new(),
        not_counted: Vec::new(),
        taken: None,
        environment_works: true,
        replaced: Vec::new(),
        unswept: None,
        gated: None,
        missing: Vec::new(),
        machine: None,
        witness: None,
        undecided: Vec::new(),
        overruled: Vec::new(),
        detectable: None,
        all_zero: false,
        chosen: None,
        front: None,
        course: None,
    }
}

/// So many configurations with names, means and everything that is pictured.
pub(in crate::report) fn made_up(count: usize) -> (Analysis, Ranking) {
    let names: Vec<String> = (0..count)
        .map(|at| if at == count * 2 / 3 { "production".to_owned() } else { name(at) })
        .collect();
    let means: Vec<f64> =
        (0..count).map(|at| 210.0 + 160.0 * (at as f64 / count as f64) + 6.0 * noise(at)).collect();
    let ranking = ranking(&names, &means);
    (analysis(&means), ranking)
}

/// Everything that is pictured, made of the means of configurations.
pub(super) fn analysis(means: &[f64]) -> Analysis {
    let repeat = |at: usize, mean: f64, repeat: usize| Repeat {
        launch: (at * 3 + repeat / 3) as u32,
        repeat: repeat as u32 % 3 + 1,
        value: mean * (0.94 + 0.12 * noise(at * 9 + repeat)),
    };
    let repeats = means.iter().enumerate();
    let repeats = repeats.map(|(at, mean)| (0..9).map(|it| repeat(at, *mean, it)).collect());
    Analysis {
        repeats: repeats.collect(),
        hits: hits(means),
        ladder: Some(ladder(means)),
        pareto: Some(pareto(means)),
        effects: effects(),
        ..Analysis::default()
    }
}

fn hits(means: &[f64]) -> Hits {
    let pair = |(at, mean): (usize, &f64)| HitPair {
        configuration: at,
        miss: figure(mean * 4.0, 0.05),
        hit: figure(mean * (0.5 + 0.3 * noise(at)), 0.08),
    };
    let pairs: Vec<HitPair> = means.iter().enumerate().skip(1).map(pair).collect();
    let without = vec![(0, "not_applicable: prefix caching is off".to_owned())];
    Hits { pairs, without, case: "prefix=4096".to_owned() }
}

fn ladder(means: &[f64]) -> Ladder {
    let step = |at: usize, mean: f64, load: usize| {
        let load = 1 << load;
        let speed = f64::from(load) * 90.0 / (1.0 + f64::from(load) / 18.0);
        Step {
            case: format!("concurrency={load}"),
            throughput: figure(speed * (1.1 - mean / 4000.0 - 0.004 * at as f64), 0.03),
            latency: figure(mean * (0.5 + f64::from(load * load) / 60.0), 0.07),
        }
    };
    let path = |(at, mean): (usize, &f64)| Path {
        configuration: at,
        steps: (0..6).map(|load| step(at, *mean, load)).collect(),
    };
    Ladder {
        throughput: "load.output_throughput".parse().unwrap(),
        latency: "load.p99_ttft_ms".parse().unwrap(),
        limit: Some(2500.0),
        limits: Vec::new(),
        paths: means.iter().enumerate().map(path).collect(),
    }
}

fn pareto(means: &[f64]) -> Pareto {
    let mut best = f64::NEG_INFINITY;
    let point = |(at, mean): (usize, &f64)| {
        let speed = 400.0 + mean + 180.0 * noise(at * 7);
        let on_front = speed > best;
        best = best.max(speed);
        ParetoPoint { configuration: at, x: figure(*mean, 0.04), y: figure(speed, 0.03), on_front }
    };
    Pareto {
        x: metric(),
        x_goal: Goal::Minimize,
        y: "load.output_throughput".parse().unwrap(),
        y_goal: Goal::Maximize,
        points: means.iter().enumerate().map(point).collect(),
    }
}

fn effects() -> Effects {
    let value = |value: &str, effect: f64| AxisValue {
        value: value.to_owned(),
        configurations: 4,
        effect: figure(effect, 0.03),
    };
    let axis = |name: &str, values: Vec<AxisValue>, p: f64| Axis {
        name: name.to_owned(),
        values,
        p: Some(p),
    };
    let axes = vec![
        axis("max-num-seqs", vec![value("16", 1.18), value("64", 0.95), value("256", 0.9)], 0.0004),
        axis("gpu-memory-utilization", vec![value("0.85", 1.01), value("0.92", 0.99)], 0.71),
        axis("enable-chunked-prefill", vec![value("not set", 1.06), value("true", 0.94)], 0.02),
    ];
    let cell = |a: &str, b: &str, mean: f64| (a.to_owned(), b.to_owned(), figure(mean, 0.04));
    let interactions = vec![Interaction {
        first: "max-num-seqs".to_owned(),
        second: "enable-chunked-prefill".to_owned(),
        p: 0.012,
        cells: vec![
            cell("16", "not set", 300.0),
            cell("16", "true", 260.0),
            cell("64", "not set", 240.0),
            cell("64", "true", 236.0),
        ],
    }];
    Effects { axes, interactions, ratios: true, configurations: 12, ..Effects::default() }
}
