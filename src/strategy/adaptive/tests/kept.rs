//! The last launches of a budget: whatever its limit, leader and baseline come to what a claim
//! needs where the launches are enough for that, and no limit is exceeded.

use super::*;

/// What limits a sweep.
#[derive(Clone, Copy, Debug)]
enum Limit {
    /// The strategy's own greatest number.
    Most(u32),
    /// A budget of launches: half of a pair is not begun.
    Budget(u32),
    /// A budget of time, by whole launches of five minutes.
    Time(u32),
}

impl Limit {
    fn launches(self) -> u32 {
        match self {
            Self::Most(launches) | Self::Budget(launches) | Self::Time(launches) => launches,
        }
    }
}

fn limited(world: &World, limit: Limit, seed: u64) -> Adaptive {
    let max_launches = match limit {
        Limit::Most(launches) => Some(launches),
        Limit::Budget(_) | Limit::Time(_) => None,
    };
    let spec = AdaptiveStrategy { max_launches, seed, ..AdaptiveStrategy::default() };
    Adaptive::new(spec, world.task())
}

/// What the strategy is asked after these.
fn situation(observations: &[Observation], limit: Limit) -> Situation<'_> {
    let left = limit.launches() - observations.len() as u32;
    let known = Situation { observations, ..Situation::default() };
    match limit {
        Limit::Most(_) => known,
        Limit::Budget(_) => Situation { launches_left: Some(left), ..known },
        Limit::Time(_) => {
            Situation { budget_left: Some(Duration::from_mins(u64::from(5 * left))), ..known }
        }
    }
}

fn run(world: &World, limit: Limit, seed: u64) -> Vec<Observation> {
    let strategy = limited(world, limit, seed);
    let mut observations = Vec::new();
    while (observations.len() as u32) < limit.launches() {
        let now = situation(&observations, limit);
        let action = limited(world, limit, seed).next(now);
        let Action::Launch { trial, configuration, purpose, repeats } = action else { break };
        if now.launches_left == Some(1) && strategy.opens_pair(now, trial) {
            break;
        }
        assert!(observations.iter().all(|it| it.trial < trial), "{trial} again");
        let may = may_be_launched(&strategy, &observations, configuration, purpose);
        assert!(may, "{configuration} is out");
        let observed = world.observe(trial, configuration, repeats);
        observations.push(Observation { purpose, ..observed });
    }
    observations
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn leader_and_baseline_come_to_a_claim_where_the_launches_are_enough(
        means in prop::collection::vec(100.0..125.0_f64, 3..9),
        noise in 0.01..0.1_f64,
        more in 2..9_u32,
        kind in 0..3_usize,
        seed in 0..99_u64,
    ) {
        let launches = 2 * means.len() as u32 + more;
        let world = World { noise, ..World::of(&means) };
        let limit = [Limit::Most, Limit::Budget, Limit::Time][kind](launches);
        let observations = run(&world, limit, seed);
        prop_assert!(observations.len() <= launches as usize);
        let counts = counts(&observations);
        let strategy = limited(&world, limit, seed);
        let leads = |known: usize| strategy.leader(&observations[..known]).unwrap().configuration;
        let all = observations.len();
        prop_assert!(counts[&0] >= 3, "{counts:?}");
        let last: Vec<usize> = (all - 4..=all).map(leads).collect();
        // A claim is over the baseline: where that leads for a while, no other one is meant.
        if !last.contains(&0) {
            let is_claimed = counts.iter().any(|(arm, count)| *arm != 0 && *count >= 3);
            prop_assert!(is_claimed, "{counts:?}");
        }
        // The last launches may make another one lead.
        prop_assert!(last.iter().any(|it| counts[it] >= 3), "{counts:?} {last:?}");
    }
}

#[test]
fn with_one_launch_left_the_baseline_has_it() {
    let world = World { noise: 0.08, ..World::of(&[110.0, 100.0, 101.0, 102.0]) };
    for limit in [Limit::Budget(9), Limit::Most(9), Limit::Time(9)] {
        let observations = run(&world, limit, 3);
        let last = observations.last().unwrap();
        let order = order(&observations);
        assert_eq!((last.configuration, last.purpose), (0, Purpose::Final), "{order:?}");
        // Two numbers are left out before it.
        assert_eq!((order.len(), last.trial), (9, 10));
    }
}

#[test]
fn what_is_launched_alone_opens_no_pair_and_has_no_second_half() {
    let world = World { noise: 0.08, ..World::of(&[110.0, 100.0, 101.0, 102.0]) };
    let limit = Limit::Budget(10);
    let observations = run(&world, limit, 3);
    assert_eq!(observations.len(), 10, "{:?}", order(&observations));
    let [first, second] = [&observations[8], &observations[9]];
    assert_eq!([first.trial, second.trial], [10, 14]);
    let both = BTreeSet::from([first.configuration, second.configuration]);
    assert!(both.contains(&0) && both.len() == 2, "{both:?}");
    let strategy = limited(&world, limit, 3);
    for known in [8, 9] {
        let now = situation(&observations[..known], limit);
        assert!(!strategy.opens_pair(now, observations[known].trial));
    }
    // With a greater budget it goes on with pairs.
    let more = Limit::Budget(40);
    let Action::Launch { trial, .. } = strategy.next(situation(&observations, more)) else {
        panic!("it goes on");
    };
    assert_eq!(trial, 16);
    assert!(strategy.opens_pair(situation(&observations, more), trial));
}

#[test]
fn a_baseline_that_breaks_a_bound_is_launched_for_a_claim_and_one_that_fails_is_not() {
    let mut world = World::of(&[90.0, 100.0, 130.0, 131.0]);
    world.bounded = vec![2.0, 0.5, 0.5, 0.5];
    for launches in 5..14 {
        for limit in [Limit::Budget(launches), Limit::Most(launches), Limit::Time(launches)] {
            let observations = run(&world, limit, 3);
            let of = counts(&observations);
            // After two blocks a claim needs one more of each.
            let is_enough = launches >= 2 * 4 + 2;
            assert_eq!(of[&0] == 3 && of[&1] >= 3, is_enough, "{limit:?} {of:?}");
            assert!(of[&0] <= 3, "{limit:?} {of:?}");
            let leader = limited(&world, limit, 3).leader(&observations).expect("a leader");
            assert_ne!(leader.configuration, 0);
        }
    }
    world.broken = BTreeSet::from([0]);
    for launches in 5..14 {
        let observations = run(&world, Limit::Budget(launches), 3);
        assert_eq!(counts(&observations)[&0], 1, "{:?}", order(&observations));
    }
}

#[test]
fn where_trials_take_several_launches_more_of_them_are_kept() {
    let world = World { noise: 0.08, ..World::of(&[110.0, 100.0, 101.0, 102.0]) };
    let strategy = limited(&world, Limit::Most(90), 3);
    let mut observations = run(&world, Limit::Most(90), 3);
    observations.truncate(8);
    let alone = |observations: &[Observation], left: u32, made: Option<u32>| {
        let known = Situation { observations, launches_made: made, ..Situation::default() };
        let now = Situation { launches_left: Some(left), ..known };
        let Action::Launch { trial, .. } = strategy.next(now) else { panic!("it goes on") };
        !strategy.opens_pair(now, trial)
    };
    assert!(alone(&observations, 2, None) && !alone(&observations, 5, None));
    // Each of them was launched twice.
    assert!(alone(&observations, 5, Some(16)));
    // Numbers that others had in between are none of them.
    for repeat in observations.iter_mut().flat_map(|it| &mut it.repeats) {
        repeat.launch *= 2;
    }
    assert!(!alone(&observations, 5, Some(8)));
}
