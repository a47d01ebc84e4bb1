//! What an owner varies besides flags, on a real daemon: two images, a variable of the compose
//! files and a flag at once, and two services of two compose files in turn; beside a watchdog
//! that starts production whenever it does not run, and that is stopped with it.

use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::site::Site;
use crate::{code, column, docker, image, read, signal, support, text};

/// An image of another id that does the same.
fn other_image() -> String {
    let name = format!("{}-other", image());
    let made = docker(&["create", image()]);
    docker(&["commit", "--change", "LABEL other=1", &made, &name]);
    docker(&["rm", "-f", &made]);
    name
}

/// Production, a watchdog that has the daemon's socket and starts what does not run, and a
/// keep-alive; the command is in the second file, where the grid varies it.
fn project(name: &str) -> String {
    let ends = "trap 'exit 0' TERM";
    let watch = format!(
        "{ends}; while :; do case $$(docker inspect -f '{{{{.State.Running}}}}' {name}-production) in \
         true) ;; *) docker start {name}-production;; esac; sleep 0.5 & wait $$!; done"
    );
    let keep = format!("{ends}; while :; do sleep 1 & wait $$!; done");
    format!(
        "version: '2.4'\nservices:\n  vllm:\n    image: {image}\n    container_name: {name}-production\n    \
         ports: ['127.0.0.1::9000']\n    environment: {{VLLM_API_KEY: sk-site}}\n  \
         watchdog:\n    image: {image}\n    entrypoint: [sh, -c, \"{watch}\"]\n    \
         volumes: ['/var/run/docker.sock:/var/run/docker.sock', '{docker}:/bin/docker:ro']\n  \
         keepalive:\n    image: {image}\n    container_name: {name}-keepalive\n    entrypoint: [sh, -c, \"{keep}\"]\n",
        image = image(),
        docker = client(),
    )
}

/// The docker command's own file.
fn client() -> String {
    let path = std::env::var_os("PATH").unwrap();
    let all = std::env::split_paths(&path).map(|it| it.join("docker"));
    all.into_iter().find(|it| it.is_file()).unwrap().display().to_string()
}

const MORE: &str = "version: '2.4'\nservices:\n  vllm:\n    \
    command: Qwen/Qwen3-0.6B --max-model-len 4096 --max_num_seqs=${SEQS} --sim-speed 20 --sim-boot-seconds 1 --port 9000\n";

const TAIL: &str = "workloads:\n  kv-cache: {prefix-tokens: [1024], prompts: 1, output-tokens: 4}\n\
    objective: {minimize: kv_cache.ttft_resent_ms}\n";

fn names(project: &str) -> [String; 2] {
    let all = docker(&["ps", "-a", "--format", "{{.Names}}"]);
    let own = project.to_lowercase();
    let watchdog = all.lines().find(|it| it.contains(&own) && it.contains("watchdog"));
    [watchdog.unwrap().to_owned(), format!("{project}-keepalive")]
}

fn runs(container: &str) -> bool {
    docker(&["inspect", "-f", "{{.State.Running}}", container]) == "true"
}

/// The project of `grid`, with its second file and its env-file, up.
fn site(grid: &str) -> (Site, [String; 2]) {
    up(Site::of(grid, project))
}

fn up(mut site: Site) -> (Site, [String; 2]) {
    let folder = site.folder.path().to_owned();
    let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
    let grid = read(&folder.join("grid.yaml")).replace("NAME", &name);
    std::fs::write(folder.join("grid.yaml"), grid).unwrap();
    std::fs::write(folder.join("more.yaml"), MORE).unwrap();
    std::fs::write(folder.join("prod.env"), "SEQS=64\n").unwrap();
    let up = Command::new("docker-compose")
        .args(["--env-file", "prod.env", "-f", "compose.yaml", "-f", "more.yaml", "up", "-d"])
        .current_dir(&folder)
        .output()
        .unwrap();
    assert!(up.status.success(), "{}", text(&up));
    site.production = docker(&["inspect", "-f", "{{.Id}}", &format!("{name}-production")]);
    let companions = names(&name);
    (site, companions)
}

fn grid(other: &str) -> String {
    format!(
        "name: stacks\nengine:\n  docker:\n    compose: [compose.yaml, more.yaml]\n    env-file: prod.env\n    \
         service: vllm\n    production: {{service: vllm, pause: [watchdog, {{container: NAME-keepalive}}]}}\n    \
         gpus: false\n    caches: false\nvariables: {{SEQS: ['16', '32']}}\nimage: ['{}', '{other}']\n\
         parameters:\n  enable-prefix-caching: [true, false]\n{TAIL}\
         strategy: {{grid: {{launches: 1, repeats: 1, seed: 1}}}}\n",
        image()
    )
}

#[test]
#[ignore = "needs Docker"]
fn two_images_a_variable_and_a_flag_are_swept_while_the_watchdog_is_paused() {
    let other = other_image();
    let (site, companions) = site(&grid(&other));
    let planned = site.command(&["plan", "grid.yaml"]).output().unwrap();
    assert!(planned.status.success(), "{}", text(&planned));
    let diagnosed = text(&site.command(&["doctor", "grid.yaml"]).output().unwrap());
    assert!(!diagnosed.contains("has the daemon's socket"), "it is paused: {diagnosed}");
    let sweep = site.sweep();
    site.until_journalled("launch_ready", 1);
    for companion in &companions {
        assert!(!runs(companion), "{companion} is stopped with production");
    }
    let (code, printed) = code(sweep);
    assert_eq!(code, Some(0), "{printed}");
    site.assert_as_found();
    for companion in &companions {
        assert!(runs(companion), "{companion} runs again");
    }
    let once = |name: &str| -> Vec<String> { column(&site, name).into_iter().flatten().collect() };
    assert_eq!(once("variable.SEQS"), ["16", "32"]);
    assert_eq!(once("image"), [image().to_owned(), other.clone()]);
    assert_eq!(once("image_id").len(), 2);
    assert_eq!(once("status"), ["ok"]);
    assert_eq!(once("configuration").len(), 8);
    // What the variable means arrived: in each row its own value.
    let results = support::parquet(&site.run().join("results.parquet"));
    let asked = support::texts(&results, "variable.SEQS");
    let asked = asked.iter().map(|it| it.as_ref()?.parse::<f64>().ok());
    assert!(asked.eq(support::numbers(&results, "effective.max-num-seqs")));
    let _used = Command::new("docker").args(["rmi", &other]).output();
}

#[test]
#[ignore = "needs Docker"]
fn a_kill_leaves_companions_stopped_until_recover_starts_them_after_production() {
    let (site, companions) = up(Site::alone_of(&grid(image()), project));
    let sweep = site.sweep();
    site.until_journalled("launch_ready", 1);
    signal(&sweep, Signal::KILL);
    let _killed = code(sweep);
    assert!(!site.production_runs() && companions.iter().all(|it| !runs(it)));
    let recovered = site.command(&["recover", "run"]).output().unwrap();
    assert!(recovered.status.success(), "{}", text(&recovered));
    site.assert_as_found();
    assert!(companions.iter().all(|it| runs(it)), "{}", text(&recovered));
    let started = |id: &str| docker(&["inspect", "-f", "{{.State.StartedAt}}", id]);
    let production = started(&site.production);
    assert!(companions.iter().all(|it| started(it) > production), "after production");
}

#[test]
#[ignore = "needs Docker"]
fn two_services_of_two_files_are_measured_in_turn() {
    let other = "version: '2.4'\nservices:\n  next:\n    image: IMAGE\n    \
        command: Qwen/Qwen3-0.6B --max-model-len 4096 --max-num-seqs 8 --sim-speed 20 --sim-boot-seconds 1\n    \
        environment: {VLLM_API_KEY: sk-site}\n";
    let grid = format!(
        "name: pair\nengine:\n  docker:\n    compose: [compose.yaml, more.yaml]\n    env-file: prod.env\n    service: vllm\n    \
         production: {{service: vllm, pause: [watchdog, keepalive]}}\n    gpus: false\n    caches: false\n\
         baseline: old\ninclude:\n  - {{name: old}}\n  - {{name: new, compose: other.yaml, service: next}}\n{TAIL}\
         strategy: {{grid: {{launches: 2, repeats: 1, seed: 1}}}}\n"
    );
    let (site, companions) = site(&grid);
    let other = other.replace("IMAGE", image());
    std::fs::write(site.folder.path().join("other.yaml"), other).unwrap();
    let began = Instant::now();
    let (code, printed) = code(site.sweep());
    assert_eq!(code, Some(0), "{printed}");
    assert!(began.elapsed() < Duration::from_mins(3));
    site.assert_as_found();
    assert!(companions.iter().all(|it| runs(it)));
    let order: Vec<String> = site
        .journal()
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|line| line["line"]["entry"]["kind"] == "launch_started")
        .filter_map(|line| line["line"]["entry"]["configuration"].as_str().map(str::to_owned))
        .collect();
    assert_eq!(order.len(), 4, "{order:?}");
    assert!(order.windows(2).all(|pair| pair[0] != pair[1]), "A-B-A-B: {order:?}");
    let services: Vec<String> = column(&site, "service").into_iter().flatten().collect();
    assert_eq!(services, ["compose.yaml,more.yaml#vllm", "other.yaml#next"]);
}
