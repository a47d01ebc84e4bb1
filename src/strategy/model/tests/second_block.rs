//! What a second block consists of, and how its end is known.

use super::*;

/// One launch without a value says nothing: the second block has another one of each of those.
#[test]
fn what_gave_no_value_in_the_screen_is_launched_again_in_the_second_block() {
    for (structured, seed) in [(true, 2), (true, 5), (false, 3)] {
        let mut world = World::of_48(structured, seed);
        let own = strategy(task_of_48(), seed);
        let opening = world.run(&own).screened();
        // More than a second block has of those that may be the best; the baseline is one.
        world.spoiled = opening.into_iter().take(11).collect();
        let ran = world.run(&own);
        let all = &ran.observations;
        let begin = start(all);
        let block: Vec<usize> = all
            .iter()
            .filter(|it| (begin..own.duels(begin)).contains(&it.trial))
            .map(|it| it.configuration)
            .collect();
        assert_eq!(block.first(), Some(&7), "the baseline opens: {block:?}");
        let again = |it: &usize| block.contains(it);
        assert!(world.spoiled.iter().all(again), "{block:?}");
        let others = block.iter().filter(|it| !world.spoiled.contains(it)).count();
        assert!((1..=SURVIVORS).contains(&others), "{block:?}");
        let of =
            |arm| all.iter().filter(move |it| it.configuration == arm && !it.repeats.is_empty());
        assert!(of(7).count() >= 3, "{} of the baseline", of(7).count());
        let first = all.iter().map(|it| it.trial).find(|it| *it >= own.duels(begin));
        assert_eq!(first_duel(all), first);
    }
}

#[test]
fn what_gives_no_value_twice_in_a_row_is_out() {
    let mut world = World::of_48(true, 2);
    world.silent = vec![7, 20, 33];
    let own = strategy(task_of_48(), 2);
    let ran = world.run(&own);
    for arm in [7, 20, 33] {
        let launches: Vec<&Observation> =
            ran.observations.iter().filter(|it| it.configuration == arm).collect();
        let screened = launches.iter().any(|it| it.purpose == Purpose::Screen);
        let expected = if screened { 2 } else { 0 };
        assert_eq!(launches.len(), expected, "{arm}");
    }
    assert!(own.leader(&ran.observations).is_some());
}

#[test]
fn the_first_duel_is_known_by_the_numbers_alone_whoever_is_in_it() {
    let mut strangers = 0;
    for seed in 0..8 {
        // The baseline is far behind, so that it is not in the second block.
        let mut world = World::of_48(seed % 2 == 0, seed);
        world.effects[7] += 0.6;
        let strategy = strategy(task_of_48(), seed);
        let all = world.run(&strategy).observations;
        let duels = all.iter().position(|it| it.trial >= strategy.duels(start(&all)));
        let Some(duels) = duels else { continue };
        for known in 0..=all.len() {
            let expected = (known > duels).then(|| all[duels].trial);
            assert_eq!(first_duel(&all[..known]), expected, "{known} of seed {seed}");
        }
        let finals = all[..duels].iter().filter(|it| it.purpose == Purpose::Final);
        let mut block = finals.map(|it| it.configuration);
        strangers += usize::from(block.all(|it| it != all[duels].configuration));
    }
    // Who was not in the second block opens a first duel now and then.
    assert!(strangers > 0);
}
