//! What a container of ours uses, by the daemon's statistics: the formulas of
//! `docker stats`, from one long-lived request that ends with the probe. Whether
//! somebody restarted it is asked with each sample.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bollard::errors::Error;
use bollard::models::{ContainerCpuStats, ContainerMemoryStats, ContainerStatsResponse};
use bollard::query_parameters::StatsOptionsBuilder;
use futures_util::{FutureExt as _, Stream, StreamExt as _};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::patience::Daemon;
use super::state::{Identity, State, state};
use super::transport::{Allowance, STATS_FRAME};
use crate::server::{GpuIds, ResourceProbe, ResourceSample};

/// Longest that one sample waits for a daemon that looks once a second itself.
const SAMPLE_TIMEOUT: Duration = Duration::from_secs(5);

/// The stream, and how much of each frame may come.
type Frames =
    (Pin<Box<dyn Stream<Item = Result<ContainerStatsResponse, Error>> + Send>>, Arc<Allowance>);

/// Looks at one container, by its id.
pub(super) struct ContainerProbe {
    docker: Daemon,
    id: String,
    gpus: Option<GpuIds>,
    watched: Mutex<Watched>,
}

/// What is kept from sample to sample.
struct Watched {
    frames: Option<Frames>,
    identity: Identity,
    restarts: u64,
}

impl ContainerProbe {
    /// A probe of the container that got ready as `identity`.
    pub(super) fn new(
        docker: Daemon,
        id: String,
        identity: Identity,
        gpus: Option<GpuIds>,
    ) -> Self {
        let watched = Watched { frames: None, identity, restarts: 0 };
        Self { docker, id, gpus, watched: Mutex::new(watched) }
    }

    /// The next frame of the daemon. A stream that broke is started again by the next sample.
    async fn next(&self, frames: &mut Option<Frames>) -> Option<ContainerStatsResponse> {
        let (stream, allowance) = frames.get_or_insert_with(|| {
            let options = StatsOptionsBuilder::new().stream(true).build();
            let stream = self.docker.stats(&self.id, Some(options));
            (Box::pin(stream), Allowance::new(STATS_FRAME))
        });
        let mut next = async || {
            let frame = Arc::clone(allowance).on(stream.next()).await;
            allowance.renew();
            frame
        };
        // Frames from before this sample are stale.
        while let Some(Some(Ok(_))) = next().now_or_never() {}
        let next = timeout(SAMPLE_TIMEOUT, next()).await;
        let Ok(Some(Ok(frame))) = next else {
            *frames = None;
            return None;
        };
        Some(frame)
    }
}

#[async_trait]
impl ResourceProbe for ContainerProbe {
    async fn sample(&self) -> Option<ResourceSample> {
        let mut watched = self.watched.lock().await;
        let frame = self.next(&mut watched.frames).await;
        let now = timeout(SAMPLE_TIMEOUT, state(&self.docker, &self.id)).await;
        let restarts = match now {
            Ok(State::Removed) => return None,
            Ok(State::DaemonUnreachable(_)) | Err(_) => None,
            Ok(State::Running(identity)) => {
                watched.restarts += restarts(&watched.identity, &identity);
                watched.identity = identity;
                Some(watched.restarts)
            }
            Ok(State::Paused | State::Ended(_)) => Some(watched.restarts),
        };
        let sample = frame.as_ref().map(resources).unwrap_or_default();
        Some(ResourceSample { restarts, ..sample })
    }

    fn gpus(&self) -> Option<GpuIds> {
        self.gpus.clone()
    }

    async fn processes(&self) -> Option<Vec<u32>> {
        let listed = timeout(SAMPLE_TIMEOUT, self.docker.top_processes(&self.id, None)).await;
        let listed = listed.ok()?.ok()?;
        let at = listed.titles?.iter().position(|title| title == "PID")?;
        let id = |row: &Vec<String>| row.get(at)?.parse().ok();
        listed.processes?.iter().map(id).collect()
    }
}

/// Restarts between two samples: by its policy the daemon counts them; by hand
/// only the time of the start is another.
fn restarts(before: &Identity, now: &Identity) -> u64 {
    let counted = u64::try_from(now.restart_count - before.restart_count).unwrap_or_default();
    counted.max(u64::from(now.started_at != before.started_at))
}

/// CPU and memory of a frame.
fn resources(frame: &ContainerStatsResponse) -> ResourceSample {
    let memory = frame.memory_stats.as_ref();
    ResourceSample {
        cpu_cores: frame.cpu_stats.as_ref().zip(frame.precpu_stats.as_ref()).and_then(cpu_cores),
        memory_bytes: memory.and_then(memory_bytes),
        memory_limit_bytes: memory.and_then(|memory| memory.limit).filter(|limit| *limit > 0),
        restarts: None,
        throttled_share: frame
            .cpu_stats
            .as_ref()
            .zip(frame.precpu_stats.as_ref())
            .and_then(throttled_share),
    }
}

/// Without a period in between nothing was held back. The first frame has nothing before it.
fn throttled_share((now, before): (&ContainerCpuStats, &ContainerCpuStats)) -> Option<f64> {
    before.system_cpu_usage?;
    let (now, before) = (now.throttling_data.as_ref()?, before.throttling_data.as_ref()?);
    let periods = now.periods?.checked_sub(before.periods?)?;
    let throttled = now.throttled_periods?.checked_sub(before.throttled_periods?)?;
    Some(if periods == 0 { 0.0 } else { throttled as f64 / periods as f64 })
}

/// The container's part of the time of all cores, times the cores. The first
/// frame has nothing before it (its share would be that since the container's
/// start), and counters that went back are those of another start.
fn cpu_cores((now, before): (&ContainerCpuStats, &ContainerCpuStats)) -> Option<f64> {
    let used = |stats: &ContainerCpuStats| stats.cpu_usage.as_ref()?.total_usage;
    let used = used(now)?.checked_sub(used(before)?)?;
    let passed = now.system_cpu_usage?.checked_sub(before.system_cpu_usage?)?;
    // Daemons before API 1.27 give the cores only as a list.
    let listed = || Some(now.cpu_usage.as_ref()?.percpu_usage.as_ref()?.len() as u32);
    let cores = now.online_cpus.filter(|cores| *cores > 0).or_else(listed)?;
    (passed > 0 && cores > 0).then(|| used as f64 / passed as f64 * f64::from(cores))
}

/// Usage without files that are cached and not in use: `total_inactive_file` with
/// cgroup v1, `inactive_file` with v2.
fn memory_bytes(memory: &ContainerMemoryStats) -> Option<u64> {
    let usage = memory.usage?;
    let cached = memory.stats.as_ref().and_then(|stats| {
        stats.get("total_inactive_file").or_else(|| stats.get("inactive_file")).copied()
    });
    Some(usage.checked_sub(cached.unwrap_or_default()).unwrap_or(usage))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::engine::docker::tests::{Place, docker};

    /// Frames of one container as a daemon sent them (Docker 20.10, two cores,
    /// cgroup v1, a limit of 512 MiB): the first of a stream, the second, the first
    /// after a restart by hand, and one after its end. Parts that nobody reads here
    /// are left out. The last two are the second one in the form of cgroup v2, and
    /// of a machine without memory accounting.
    const FRAMES: &str = include_str!("stats/frames.jsonl");

    fn frames() -> Vec<ResourceSample> {
        FRAMES
            .lines()
            .map(|line| resources(&serde_json::from_str(line).expect("a frame of the daemon")))
            .collect()
    }

    #[test]
    fn a_frame_is_read_as_docker_stats_reads_it() {
        let frames = frames();
        let second = frames[1];
        // 873067261 ns of 2010000000 ns, times two cores.
        assert!((second.cpu_cores.expect("a share") - 0.868_724).abs() < 1e-6, "{second:?}");
        assert_eq!(second.memory_bytes, Some(86_634_496 - 1_875_968));
        assert_eq!(second.memory_limit_bytes, Some(512 << 20));
    }

    #[test]
    fn cgroup_v2_has_other_names_for_the_same() {
        let frames = frames();
        assert_eq!(frames[4], frames[1]);
        let without = ResourceSample { memory_bytes: None, memory_limit_bytes: None, ..frames[1] };
        assert_eq!(frames[5], without, "no accounting of memory");
    }

    #[test]
    fn a_first_frame_and_counters_that_went_back_have_no_share() {
        let frames = frames();
        assert_eq!(frames[0].cpu_cores, None);
        assert_eq!(frames[0].memory_bytes, Some(17_182_720 - 1_875_968));
        assert_eq!(frames[2].cpu_cores, None);
        assert_eq!(
            frames[3],
            ResourceSample::default(),
            "what ended uses nothing that is reported"
        );
    }

    #[test]
    fn restarts_are_counted_by_the_daemon_or_seen_by_the_time_of_the_start() {
        let identity = |started_at: &str, restart_count| Identity {
            started_at: started_at.to_owned(),
            restart_count,
            ..Identity::default()
        };
        let launched = identity("10:50:10", 0);
        assert_eq!(restarts(&launched, &launched), 0);
        assert_eq!(restarts(&launched, &identity("10:50:19", 0)), 1, "by hand");
        assert_eq!(restarts(&launched, &identity("10:50:19", 3)), 3, "by its policy");
        assert_eq!(restarts(&identity("10:50:19", 3), &identity("10:51:00", 0)), 1);
    }

    #[tokio::test(flavor = "multi_thread")]
    #[ignore = "needs Docker"]
    async fn a_probe_samples_its_container_and_ends_with_it() {
        let place = Place::new("stats").await;
        let mut engine = place.engine(&[], |spec| spec.gpus = false).await;
        let launched = place.launch(&mut engine, &json!({})).await.expect("ready");
        let probe = launched.probe().expect("a container can be looked at");
        assert_eq!(probe.gpus(), Some(GpuIds::default()), "`gpus: false`");
        let first = probe.sample().await.expect("it lives");
        assert_eq!((first.cpu_cores, first.restarts), (None, Some(0)));
        let memory = first.memory_bytes.expect("reported");
        assert!((1 << 20..1 << 30).contains(&memory), "{first:?}");
        assert!(first.memory_limit_bytes > Some(memory), "{first:?}");
        let second = probe.sample().await.expect("it lives");
        assert!(second.cpu_cores.is_some_and(|cores| (0.0..64.0).contains(&cores)), "{second:?}");

        docker(&["restart", "-t", "1", &place.containers()[0]]);
        assert_eq!(probe.sample().await.expect("it lives").restarts, Some(1));

        // Somebody looks all the time, also while it is stopped.
        let sampling = tokio::spawn(async move { while probe.sample().await.is_some() {} });
        launched.stop().await.expect("stopped");
        timeout(SAMPLE_TIMEOUT * 4, sampling)
            .await
            .expect("nothing is left to look at")
            .expect("no panic");
        assert!(place.containers().is_empty());
    }
}
