//! From the cost model to the verdict in virtual time: what the simulated engine
//! would serve, without HTTP or clock, as sweeps that are ranked. One
//! configuration under two names must not differ more often than 5 % allows; one
//! that is slower must be found.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde_json::json;
use vllm_grid::results::ranking::{RankingVerdict, rank};
use vllm_grid::simulator::cost::CostModel;
use vllm_grid::simulator::kv_cache::KvCache;
use vllm_grid::simulator::noise::Noise;
use vllm_grid::simulator::pace::{Pace, replay};
use vllm_grid::simulator::scheduler::{Limits, Request, Scheduler};
use vllm_grid::simulator::settings::Settings;
use vllm_grid::simulator::text::mix;
use vllm_grid::simulator::{memory, profile};

use crate::results::builder::{Building, measured, sweep as names_only};

const LAUNCHES: u64 = 2;
const REPEATS: u32 = 5;
const PROMPTS: u64 = 2;
const PREFIX: u64 = 512;
/// Longer than a request takes: one at a time, as `kv-cache` sends them.
const APART: f64 = 10.0;

/// The requests of a launch, warm-up first: each prompt, then the same again.
fn arrivals() -> Vec<(f64, Request)> {
    let requests = (0..u64::from(REPEATS + 1) * PROMPTS * 2).map(|id| {
        let prompt = (0..PREFIX).map(|index| mix(id / 2, index) as u32).collect();
        Request { id, prompt, cache_salt: None, output_seed: id, output_tokens: 2 }
    });
    requests.map(|request| (request.id as f64 * APART, request)).collect()
}

/// A launch: its own factor on all times, and the TTFT of resent prompts by
/// repeat, ms, the median of each repeat's.
#[derive(Clone, Debug)]
struct Launched {
    factor: f64,
    times: Vec<f64>,
}

/// Sweeps of two configurations that are the same, launch by launch.
static SWEEPS: LazyLock<Vec<Vec<[Launched; 2]>>> = LazyLock::new(|| {
    let _turn = crate::support::alone::beside();
    let flags = serde_json::from_value(json!({"max-model-len": 4096})).unwrap();
    let gpu = profile::gpu("rtx-4090").unwrap();
    let none = BTreeMap::new();
    let settings = Settings::from_flags("Qwen/Qwen3-1.7B", &flags, &none, gpu, 1, None).unwrap();
    let arrivals = arrivals();
    let launched = |sweep, number| launch(&settings, &arrivals, Noise::new(sweep, number));
    let sweep =
        |seed| (0..LAUNCHES).map(|n| [launched(seed, 2 * n), launched(seed, 2 * n + 1)]).collect();
    (0..200).map(sweep).collect()
});

fn launch(settings: &Settings, arrivals: &[(f64, Request)], noise: Noise) -> Launched {
    let blocks = memory::divide(settings, 0.0).unwrap().blocks;
    let cache = KvCache::new(blocks, settings.block_size, true);
    let mut scheduler = Scheduler::new(Limits::of(settings), cache);
    let factor = noise.launch();
    let mut pace = Pace::new(CostModel::new(settings), noise);
    let traces = replay(&mut scheduler, &mut pace, arrivals);
    let resent: Vec<f64> = traces
        .chunks(2)
        .map(|pair| {
            assert!(pair[0].cached_tokens == 0 && pair[1].cached_tokens >= PREFIX - 16);
            pair[1].time_to_first_token() * 1e3
        })
        .collect();
    let times = resent.chunks(PROMPTS as usize).map(|two| f64::midpoint(two[0], two[1]));
    Launched { factor, times: times.collect() }
}

/// In how many sweeps the configurations are distinguishable, the second one's times
/// being multiplied by `slower`, and launches differing by 3 % to the power `spread`.
fn distinguished(slower: f64, spread: i32) -> usize {
    let verdict = |sweep: &Vec<[Launched; 2]>| {
        let mut record = names_only(&["fast", "slow"]);
        for pair in sweep {
            for (launched, (name, slower)) in pair.iter().zip([("fast", 1.0), ("slow", slower)]) {
                let factor = slower * launched.factor.powi(spread - 1);
                let times: Vec<f64> = launched.times.iter().map(|ms| ms * factor).collect();
                let warmup = measured(0, "ttft_resent_ms", times[0]);
                record = record.launch(name, &times[1..]).measurement(warmup);
            }
        }
        rank(&record).verdict
    };
    let verdicts = SWEEPS.iter().map(verdict);
    // That the slower one ranks first is no finding.
    verdicts
        .filter(|v| matches!(v, RankingVerdict::First { name } if slower <= 1.0 || name == "fast"))
        .count()
}

#[test]
fn of_200_sweeps_of_one_configuration_under_two_names_at_most_18_differ() {
    let different = distinguished(1.0, 1);
    assert!(different <= 18, "{different} of 200");
}

/// Launches that differ by 3 % are below the 4 % that the statistics assume at the
/// least, which makes the test above an easy one. At 9 % nothing but the measured
/// variance protects: about 10 of 200 are then expected.
#[test]
fn at_most_18_differ_where_launches_differ_by_more_than_is_assumed() {
    let different = distinguished(1.0, 3);
    assert!((1..=18).contains(&different), "{different} of 200");
}

/// Two launches of five repeats each.
#[test]
fn a_configuration_that_is_30_percent_slower_is_found_in_nine_sweeps_of_ten() {
    let found = distinguished(1.3, 1);
    assert!(found >= 180, "{found} of 200");
}
