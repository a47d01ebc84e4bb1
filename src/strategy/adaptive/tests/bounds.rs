//! What may break a bound: when it is launched again, and when it wins.

use super::*;

#[test]
fn what_may_break_a_bound_wins_only_after_three_launches() {
    let mut world = World::of(&[200.0, 100.0, 210.0, 190.0]);
    // By 1 % of the bound, while launches differ by 4 % beforehand.
    world.bounded = vec![0.5, 0.99, 0.5, 0.5];
    let strategy = adaptive(&world.task());
    let (observations, _) = run(&strategy, &world);
    assert_eq!(strategy.leader(&observations).map(|it| it.configuration), Some(1));
    assert!(counts(&observations)[&1] >= 3);
    world.bounded[1] = 1.01;
    let (observations, _) = run(&strategy, &world);
    assert_eq!(counts(&observations)[&1], 3, "its mean decides after three");
    assert_eq!(strategy.leader(&observations).map(|it| it.configuration), Some(3));
}

#[test]
fn a_leader_that_may_break_a_bound_is_launched_until_that_is_known_at_most_eight_times() {
    let mut world = World::of(&[200.0, 100.0, 210.0, 190.0]);
    let mut came = |bounded: f64| {
        world.bounded = vec![0.5, bounded, 0.5, 0.5];
        let strategy = adaptive(&world.task());
        let (observations, why) = run(&strategy, &world);
        let leader = strategy.leader(&observations).expect("a leader");
        assert_eq!(leader.configuration, 1);
        // Less than what was asked for is no success.
        let is_enough = leader.probability >= 0.9;
        assert_eq!(matches!(why, Finished::GoodEnough(_)), is_enough, "{why:?}");
        assert_eq!(matches!(why, Finished::Uncertain(_)), !is_enough, "{why:?}");
        (counts(&observations)[&1], leader.probability)
    };
    // Launches differ by 4 % as far as is known beforehand: 20 % below the bound is clear.
    let (launches, probability) = came(0.8);
    assert!(launches == 3 && probability > 0.95, "{launches} {probability}");
    let (launches, probability) = came(0.975);
    assert!((4..8).contains(&launches) && probability >= 0.9, "{launches} {probability}");
    let (launches, probability) = came(0.995);
    assert!(launches == 8 && (0.5..0.9).contains(&probability), "{launches} {probability}");
}

#[test]
fn what_may_be_out_by_mistake_lowers_the_probability_and_is_not_waited_for() {
    let mut world = World::of(&[200.0, 100.0, 210.0, 150.0]);
    let mut came = |bounded: f64| {
        world.bounded = vec![0.5, bounded, 0.5, 0.5];
        let strategy = adaptive(&world.task());
        let (observations, _) = run(&strategy, &world);
        let leader = strategy.leader(&observations).expect("a leader");
        assert_eq!(leader.configuration, 3);
        (observations.len(), leader.probability)
    };
    let (launches, probability) = came(1.01);
    assert!((0.5..0.9).contains(&probability), "{probability}");
    let (of_clear, clear) = came(1.3);
    assert!(clear > 0.95, "{clear}");
    // Three launches of what is out instead of one, and one more of the others at most.
    assert!(launches <= of_clear + 6, "{launches} {of_clear}");
}
