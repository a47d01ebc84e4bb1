use super::*;

fn limits() -> Limits {
    Limits {
        batched_tokens: 64,
        sequences: 4,
        chunked: true,
        long_prefill: 0,
        reserve_full_prompt: true,
        watermark: 0.0,
    }
}

fn scheduler(limits: Limits, blocks: u64, caching: bool) -> Scheduler {
    Scheduler::new(limits, KvCache::new(blocks, 16, caching))
}

fn request(id: RequestId, tokens: u32, output: u64) -> Request {
    Request {
        id,
        prompt: (0..tokens).map(|token| token + 1000 * id as u32).collect(),
        cache_salt: None,
        output_seed: id,
        output_tokens: output,
    }
}

fn shares(plan: &Plan) -> Vec<(RequestId, u64)> {
    plan.work.iter().map(|work| (work.id, work.tokens)).collect()
}

#[test]
fn a_long_prompt_is_cut_to_what_the_decodes_leave() {
    let mut scheduler = scheduler(limits(), 100, false);
    scheduler.add(&request(1, 10, 5), 0.0);
    let plan = scheduler.schedule(0.0).unwrap();
    assert_eq!(scheduler.complete(&plan, 1.0).len(), 1);
    scheduler.add(&request(2, 100, 5), 1.0);
    let plan = scheduler.schedule(1.0).unwrap();
    assert_eq!(shares(&plan), [(1, 1), (2, 63)]);
    let tokens = scheduler.complete(&plan, 2.0);
    assert_eq!(tokens.iter().map(|token| token.id).collect::<Vec<_>>(), [1]);
    assert_eq!(shares(&scheduler.schedule(2.0).unwrap()), [(1, 1), (2, 37)]);
}

#[test]
fn without_chunking_a_prompt_waits_until_it_fits_and_blocks_those_behind_it() {
    let mut scheduler = scheduler(Limits { chunked: false, ..limits() }, 100, false);
    for id in 1..=3 {
        scheduler.add(&request(id, if id == 2 { 50 } else { 20 }, 1), 0.0);
    }
    let plan = scheduler.schedule(0.0).unwrap();
    assert_eq!(shares(&plan), [(1, 20)], "50 does not fit into 44, 20 behind it would");
    scheduler.complete(&plan, 1.0);
    assert_eq!(shares(&scheduler.schedule(1.0).unwrap()), [(2, 50)]);
}

#[test]
fn a_prefix_is_found_in_whole_blocks_and_never_the_last_token() {
    let mut scheduler = scheduler(Limits { batched_tokens: 512, ..limits() }, 100, true);
    for (id, tokens, cached) in [(1, 64, 0), (2, 64, 48), (3, 65, 64), (4, 100, 64)] {
        let mut request = request(id, tokens, 1);
        request.prompt = (0..tokens).collect();
        scheduler.add(&request, 0.0);
        let plan = scheduler.schedule(0.0).unwrap();
        assert_eq!(plan.admitted[0].cached_tokens, cached, "request {id}");
        scheduler.complete(&plan, 1.0);
    }
    let mut salted = request(5, 64, 1);
    salted.prompt = (0..64).collect();
    salted.cache_salt = Some("other".into());
    scheduler.add(&salted, 0.0);
    assert_eq!(scheduler.schedule(0.0).unwrap().admitted[0].cached_tokens, 0);
}

#[test]
fn the_last_running_request_is_preempted_and_recomputed_with_its_answer() {
    // Two requests of 32 tokens fill 4 of 5 blocks; both need a third block at once.
    let mut scheduler = scheduler(limits(), 5, false);
    scheduler.add(&request(1, 31, 20), 0.0);
    scheduler.add(&request(2, 31, 20), 0.0);
    let mut preempted = Vec::new();
    let mut finished = Vec::new();
    let mut now = 0.0;
    while let Some(plan) = scheduler.schedule(now) {
        now += 1.0;
        preempted.extend(plan.preempted.iter().copied());
        let tokens = scheduler.complete(&plan, now);
        finished.extend(tokens.iter().filter(|t| t.finished).map(|t| (t.id, t.index)));
    }
    assert_eq!(preempted, [2]);
    assert_eq!(finished, [(1, 19), (2, 19)], "both end with all their tokens");
    assert!(scheduler.cache_usage().abs() < 1e-9);
}

#[test]
fn sequences_are_limited_and_an_abort_frees_a_place() {
    let mut scheduler = scheduler(Limits { sequences: 2, ..limits() }, 100, false);
    for id in 1..=3 {
        scheduler.add(&request(id, 4, 9), 0.0);
    }
    let plan = scheduler.schedule(0.0).unwrap();
    assert_eq!(shares(&plan), [(1, 4), (2, 4)]);
    scheduler.complete(&plan, 1.0);
    assert_eq!((scheduler.running(), scheduler.waiting()), (2, 1));
    assert!(scheduler.abort(1));
    assert!(!scheduler.abort(1));
    assert_eq!(shares(&scheduler.schedule(1.0).unwrap()), [(2, 1), (3, 4)]);
}
