//! The gate on scripted readings, in virtual time; what `nvidia-smi` says.

use serde_json::json;

use super::*;

/// Free memory by the second, the last value for ever; NaN cannot be read. Each launch has the
/// GPUs that its variable names, `GPU-a` where it names none.
struct Scripted(Instant, Vec<f64>);

#[async_trait]
impl ReadMemory for Scripted {
    async fn read(&mut self, environment: &BTreeMap<String, String>) -> Option<Vec<GpuMemory>> {
        let second = self.0.elapsed().as_secs() as usize;
        let free = *self.1.get(second).or(self.1.last())?;
        let ids = GpuIds::listed(environment.get(CUDA).map_or("GPU-a", String::as_str));
        let gpu = |uuid: &str| GpuMemory { uuid: uuid.to_owned(), index: 0, free, total: 24_000.0 };
        (!free.is_nan()).then(|| ids.iter().map(gpu).collect())
    }
}

fn gate(free: Vec<f64>) -> Gate {
    let reader = Some(Box::new(Scripted(Instant::now(), free)) as Box<dyn ReadMemory>);
    Gate { reader, has_read: false, gates: Gates::default() }
}

fn configuration(utilisation: Option<f64>, gpus: Option<&str>) -> Configuration {
    let flag = utilisation.map(|it| ("gpu-memory-utilization".to_owned(), json!(it)));
    let variable = gpus.map(|ids| (CUDA.to_owned(), ids.to_owned()));
    Configuration {
        flags: flag.into_iter().collect(),
        environment: variable.into_iter().collect(),
        ..Configuration::default()
    }
}

/// Seconds that a passage takes.
async fn passage(gate: &mut Gate, gpus: &str) -> u64 {
    let began = Instant::now();
    let (emit, cancel) = (Emit::nowhere(), CancellationToken::new());
    let next = configuration(Some(0.1), Some(gpus));
    gate.pass(&next, &emit, &cancel).await.expect("it suffices");
    began.elapsed().as_secs()
}

#[tokio::test(start_paused = true)]
async fn each_gpu_is_compared_with_itself_whatever_engine_launched_on_it() {
    let gates = Gates::default();
    let of = |free: Vec<f64>| gate(free).among(&gates);
    // Both see the memory that a server of the first one holds from second 10 to 20.
    let mut free = vec![23_000.0; 10];
    free.extend(vec![4_000.0; 10]);
    free.push(23_000.0);
    let (mut first, mut second) = (of(free.clone()), of(free));
    assert_eq!(passage(&mut first, "GPU-a,GPU-b").await, 0, "nothing ran before");
    sleep(Duration::from_secs(12)).await;
    let waited = passage(&mut second, "GPU-b").await;
    assert!((13..15).contains(&waited), "until it is free, and stays so: {waited}");
    assert_eq!(passage(&mut second, "GPU-c").await, 0, "nothing ran on that one");
    assert_eq!(passage(&mut first, "GPU-c,GPU-a").await, 5);
    assert_eq!(passage(&mut first, "").await, 0, "it uses none");
}

#[tokio::test(start_paused = true)]
async fn a_look_that_fails_opens_the_gate_neither_now_nor_later() {
    let mut free = vec![23_000.0; 10];
    free.extend(vec![f64::NAN; 5]);
    free.extend(vec![4_000.0; 5]);
    free.push(23_000.0);
    let mut gate = gate(free);
    assert_eq!(passage(&mut gate, "GPU-a").await, 0);
    sleep(Duration::from_secs(11)).await;
    let waited = passage(&mut gate, "GPU-a").await;
    assert!((14..16).contains(&waited), "until it is free, and stays so: {waited}");
    assert_eq!(passage(&mut gate, "GPU-a").await, 5);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_any_more_holds_up_each_launch_for_as_long_as_it_may() {
    let mut gate = gate(vec![23_000.0, f64::NAN]);
    assert_eq!(passage(&mut gate, "GPU-a").await, 0);
    sleep(Duration::from_secs(1)).await;
    for _ in 0..2 {
        assert_eq!(passage(&mut gate, "GPU-a").await, 120);
    }
}

/// Seconds that the second passage took, and how it ended.
async fn second_passage(
    free: Vec<f64>,
    utilisation: Option<f64>,
) -> (f64, Result<(), LaunchFailure>) {
    let mut gate = gate(free);
    let next = configuration(utilisation, None);
    let (emit, cancel) = (Emit::nowhere(), CancellationToken::new());
    gate.pass(&next, &emit, &cancel).await.expect("the first passage reads");
    sleep(Duration::from_secs(1)).await;
    let passing = Instant::now();
    let passed = gate.pass(&next, &emit, &cancel).await;
    (passing.elapsed().as_secs_f64(), passed)
}

#[tokio::test(start_paused = true)]
async fn memory_has_to_be_back_and_stay() {
    let (seconds, passed) = second_passage(vec![23_000.0, 22_900.0], None).await;
    assert!(passed.is_ok());
    assert!((5.0..6.0).contains(&seconds), "stable for 5 s: {seconds}");

    let mut drains = vec![23_000.0];
    drains.extend(vec![4_000.0; 10]);
    drains.push(23_000.0);
    let (seconds, passed) = second_passage(drains, None).await;
    assert!(passed.is_ok());
    assert!((15.0..16.5).contains(&seconds), "{seconds}");
}

#[tokio::test(start_paused = true)]
async fn what_never_drains_is_marked_or_stops_by_what_the_next_one_needs() {
    let held = vec![23_000.0, 20_000.0];
    let (seconds, passed) = second_passage(held.clone(), Some(0.8)).await;
    assert!(passed.is_ok(), "20000 of 24000 suffice for 0.8");
    assert!((120.0..121.0).contains(&seconds), "{seconds}");
    let (_, passed) = second_passage(held, Some(0.95)).await;
    assert_eq!(passed.expect_err("not for 0.95").class, FailureClass::Environment);
}

/// A daemon that does not answer, and is asked again.
struct Silent;

#[async_trait]
impl ReadMemory for Silent {
    async fn read(&mut self, _: &BTreeMap<String, String>) -> Option<Vec<GpuMemory>> {
        sleep(Duration::from_mins(2)).await;
        None
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_does_not_wait_for_a_daemon_that_does_not_answer() {
    let mut gate = Gate { reader: Some(Box::new(Silent)), ..gate(Vec::new()) };
    let (began, cancel) = (Instant::now(), CancellationToken::new());
    let next = configuration(None, None);
    let emit = Emit::nowhere();
    let stop = async {
        sleep(Duration::from_secs(3)).await;
        cancel.cancel();
    };
    let (passed, ()) = tokio::join!(gate.pass(&next, &emit, &cancel), stop);
    passed.expect("a stop is no failure");
    assert_eq!(began.elapsed().as_secs(), 13, "a look that was begun may end");
}

#[tokio::test(start_paused = true)]
async fn without_a_gpu_the_gate_says_so_once() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    let warnings = Arc::new(AtomicU32::new(0));
    let count = warnings.clone();
    let emit = Emit::to(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
    });
    let mut gate = gate(Vec::new());
    let next = configuration(None, None);
    for _ in 0..3 {
        gate.pass(&next, &emit, &CancellationToken::new()).await.expect("open");
    }
    assert_eq!(warnings.load(Ordering::Relaxed), 1);
}

#[test]
fn nvidia_smi_is_read() {
    let gpu = smi_line("GPU-1b2c, 1, 23028, 24564").expect("a line");
    assert_eq!((gpu.index, gpu.free, gpu.total), (1, 23_028.0, 24_564.0));
    assert_eq!(smi_line("No devices were found"), None);
}
