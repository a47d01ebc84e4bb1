//! The turns that the other tests take: who is alone is alone, and nobody waits for ever.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::support::PATIENCE;
use crate::support::alone::Turns;

#[test]
fn one_that_is_alone_has_nobody_beside_it() {
    static TURNS: Turns = Turns::new();
    let busy = AtomicUsize::new(0);
    thread::scope(|scope| {
        for number in 0..9 {
            let busy = &busy;
            scope.spawn(move || {
                let is_alone = number % 3 == 0;
                let held = if is_alone { TURNS.alone() } else { TURNS.beside() };
                let others = busy.fetch_add(1, Ordering::SeqCst);
                assert!(!is_alone || others == 0, "{others} beside it");
                thread::sleep(Duration::from_millis(5));
                let all = busy.fetch_sub(1, Ordering::SeqCst);
                assert!(!is_alone || all == 1, "{all} with it");
                drop(held);
            });
        }
    });
}

#[test]
fn a_thread_that_holds_one_waits_for_nobody_and_who_comes_later_does_not_overtake() {
    static TURNS: Turns = Turns::new();
    let (said, heard) = mpsc::channel();
    let first = TURNS.beside();
    thread::scope(|scope| {
        let alone = said.clone();
        scope.spawn(move || {
            let held = TURNS.alone();
            // It is its own for all that it takes.
            let more = (TURNS.beside(), TURNS.alone());
            alone.send("alone").unwrap();
            drop((held, more));
        });
        thread::sleep(Duration::from_millis(200));
        let second = TURNS.beside();
        scope.spawn(move || {
            let held = TURNS.beside();
            said.send("later").unwrap();
            drop(held);
        });
        thread::sleep(Duration::from_millis(200));
        drop(first);
        assert!(heard.recv_timeout(Duration::from_millis(200)).is_err(), "the second is held");
        // Another thread drops it than took it.
        scope.spawn(move || drop(second));
        assert_eq!(heard.recv_timeout(PATIENCE), Ok("alone"));
        assert_eq!(heard.recv_timeout(PATIENCE), Ok("later"));
    });
}
