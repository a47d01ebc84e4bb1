//! A service as people write it today, on a real daemon: vLLM behind a shell script with a
//! guard loop, some thirty flags, a key out of a variable, and a watchdog beside it.

use crate::support::{numbers, parquet, texts};
use crate::{Site, code, column, docker, image, read, text, words};

pub(crate) const KEY: &str = "sk-cle-du-script-0815";

/// `NAME` stands for the project's name, `IMAGE` for the image.
const SERVICE: &str = r#"services:
  vllm:
    image: IMAGE
    container_name: NAME-production
    entrypoint: ["/bin/sh", "-c"]
    command:
      - |
        set -e
        # Attend que le dépôt soit monté : un montage « fantôme » serait vide,
        # et 19 Go seraient téléchargés au mauvais endroit.
        i=0
        while ! find /hf -size +4G | grep -q .; do
          i=$$((i+1))
          [ "$$i" -gt 60 ] && { echo "dépôt absent : vllm serve n'est pas lancé" >&2; exit 1; }
          sleep 1
        done
        # Voilà, c'est monté. Les drapeaux qui suivent sont ceux d'août.
        exec vllm serve Qwen/Qwen3-0.6B \
          --served-model-name qwen "modèle-d'été" \
          --host 0.0.0.0 --port 8000 \
          --api-key "$$SERVE_KEY" \
          --max-model-len 8192 \
          --max-num-seqs 32 \
          --max-num-batched-tokens 4096 \
          --gpu-memory-utilization 0.90 \
          --kv-cache-dtype ${KV_DTYPE_OF_THE_SITE:-fp8} \
          --block-size 16 \
          --tensor-parallel-size 1 --pipeline-parallel-size 1 \
          --dtype bfloat16 \
          --seed 0 \
          --enable-prefix-caching \
          --enable-chunked-prefill \
          --speculative-config '{"method":"mtp","num_speculative_tokens":'"$${MTP_TOKENS:-3}"'}' \
          --reasoning-parser qwen3 \
          --enable-auto-tool-choice --tool-call-parser hermes \
          --generation-config vllm \
          --override-generation-config '{"temperature": 0.6}' \
          --default-chat-template-kwargs '{"enable_thinking": false}' \
          --limit-mm-per-prompt '{"image": 0}' \
          --trust-remote-code \
          --uvicorn-log-level warning \
          --no-enable-log-requests --max-log-len 100 \
          --scheduling-policy fcfs --async-scheduling \
          -O2 --sim-speed 20 2>&1
    environment:
      SERVE_KEY: KEY
      NCCL_P2P_DISABLE: "1"
    volumes: ["./hf:/hf:ro"]
    ports: ["127.0.0.1::8000"]
    restart: unless-stopped
    labels: {autoheal: "False"}
  watchdog:
    image: IMAGE
    container_name: NAME-watchdog
    depends_on: [vllm]
    entrypoint: ["/bin/sh", "-c"]
    command: ["while :; do sleep 1; done # demande 24 jetons à vllm serve"]
    restart: unless-stopped
"#;

pub(crate) const GRID: &str = "
name: script
engine:
  docker: {compose: compose.yaml, service: vllm, production: {service: vllm}, gpus: false, caches: false}
baseline: production
parameters:
  max-num-seqs: [32, 64]
  speculative-config: [{method: mtp, num_speculative_tokens: 2}, {method: mtp, num_speculative_tokens: 8}]
workloads:
  kv-cache: {prefix-tokens: [1024], prompts: 2, output-tokens: 4}
objective: {minimize: kv_cache.ttft_resent_ms}
strategy: {grid: {launches: 1, repeats: 1, seed: 1}}
";

/// A blob of more than 4 GB that takes no space.
fn blob(site: &Site) {
    let folder = site.folder.path().join("hf/hub/blobs");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::File::create(folder.join("poids")).unwrap().set_len(5 << 30).unwrap();
}

/// Whether the key stands in some file under a folder, as bytes.
fn leak(folder: &std::path::Path) -> Option<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().flatten();
    entries.into_iter().find_map(|entry| {
        let path = entry.path();
        if path.is_dir() {
            return leak(&path);
        }
        let bytes = std::fs::read(&path).unwrap();
        bytes.windows(KEY.len()).any(|window| window == KEY.as_bytes()).then_some(path)
    })
}

pub(crate) fn site(grid: &str) -> Site {
    let mut site = Site::of(grid, |name| {
        SERVICE
            .replace("IMAGE", image())
            .replace("NAME", name)
            .replace(": KEY", &format!(": {KEY}"))
    });
    blob(&site);
    site.up();
    site
}

#[test]
#[ignore = "needs Docker"]
fn a_guarded_script_is_swept_over_two_flags_that_are_proven_in_the_process() {
    let site = site(GRID);
    for arguments in [&["plan", "grid.yaml"][..], &["doctor", "grid.yaml"]] {
        let output = site.command(arguments).output().unwrap();
        let printed = text(&output);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {printed}");
        assert!(!printed.contains(KEY) && !printed.contains("fant\u{f4}me"), "{printed}");
    }
    let (code, printed) = code(site.sweep());
    assert_eq!(code, Some(0), "{printed}");
    assert!(!printed.contains(KEY), "{printed}");
    assert_eq!(leak(&site.run()), None, "the key is in no file");
    site.assert_as_found();

    let results = parquet(&site.run().join("results.parquet"));
    let (names, repeats) = (texts(&results, "configuration"), numbers(&results, "repeat"));
    let is_kept = |row: &usize| {
        // Of production's own depth only the container knows the value.
        let varied = names[*row].as_deref().is_some_and(|name| name != "production");
        varied && repeats[*row] > Some(0.0)
    };
    let kept: Vec<usize> = (0..results.height()).filter(is_kept).collect();
    assert_eq!(kept.len(), 4, "each configuration once");
    for flag in ["max-num-seqs", "speculative-config"] {
        let verdicts = texts(&results, &format!("verdict.{flag}"));
        for &row in &kept {
            let verdict = verdicts[row].as_deref();
            assert!(matches!(verdict, Some("passed" | "honoured")), "{flag}: {verdicts:?}");
        }
    }
    let of = |column: &str| {
        let values = texts(&results, column);
        let mut values: Vec<String> = kept.iter().filter_map(|&row| values[row].clone()).collect();
        values.sort();
        values.dedup();
        values
    };
    assert_eq!(of("effective.max-num-seqs"), ["32", "64"]);
    assert_eq!(of("status"), ["ok"]);
    let ranking = read(&site.run().join("ranking.csv"));
    let ranked = ranking.lines().filter(|line| line.starts_with(['1', '2', '3', '4', '5'])).count();
    assert_eq!(ranked, 5, "{ranking}");
    // What stands beside vLLM was not touched.
    let name = site.folder.path().file_name().unwrap().to_str().unwrap();
    let watchdog = format!("{name}-watchdog");
    assert_eq!(docker(&["inspect", "-f", "{{.State.Running}}", &watchdog]), "true");
}

/// The script of a launcher that looks at variables alone.
#[test]
#[ignore = "needs Docker"]
fn a_launcher_in_a_script_that_takes_variables_alone_is_refused_or_gives_no_ranking() {
    let site = site(GRID);
    let compose = site.folder.path().join("compose.yaml");
    let before = read(&compose);
    let (head, rest) = before.split_once("    entrypoint:").unwrap();
    let (_, rest) = rest.split_once("    environment:").unwrap();
    let launcher = "#!/bin/sh\nexec vllm serve Qwen/Qwen3-0.6B --max-num-seqs 16 --sim-speed 20 \\\n  \
                    --api-key \"${VLLM_API_KEY:-$SERVE_KEY}\" --port 8000\n";
    std::fs::write(site.folder.path().join("hf/launch.sh"), launcher).unwrap();
    // It is not known to take arguments, and is refused before anything is stopped.
    let opaque = format!(
        "{head}    entrypoint: [/bin/sh, /hf/launch.sh]\n    command: []\n    environment:{rest}"
    );
    std::fs::write(&compose, opaque).unwrap();
    let (code_of, printed) = code(site.sweep());
    assert_eq!(code_of, Some(2), "{printed}");
    assert!(words(&printed).contains("`sh /hf/launch.sh` is not known to pass"), "{printed}");
    assert!(site.production_runs());
    // The same behind the name `vllm` looks like one that takes them.
    let named = format!(
        "{head}    entrypoint: [/bin/sh, -c, 'exec vllm serve \"$$@\"', sh]\n    command: [Qwen/Qwen3-0.6B]\n    environment:{rest}"
    )
    .replace("volumes: [", "volumes: ['./hf/vllm:/bin/vllm:ro', ")
    .replace("SERVE_KEY:", "VLLM_API_KEY:");
    std::fs::write(&compose, named).unwrap();
    let program = site.folder.path().join("hf/vllm");
    std::fs::write(&program, launcher.replace("exec vllm serve", "exec /bin/vllm-grid simulate"))
        .unwrap();
    crate::executable(&program);
    let grid = site.folder.path().join("grid.yaml");
    let flags = "  max-num-seqs: [32, 64]\n";
    let (head, rest) = GRID.split_once(flags).unwrap();
    let (_, rest) = rest.split_once('\n').unwrap();
    std::fs::write(&grid, format!("{head}{flags}{rest}").replace("baseline: production\n", ""))
        .unwrap();
    let (code, printed) = code(site.sweep());
    assert_eq!(code, Some(1), "{printed}");
    let classes: Vec<String> = column(&site, "failure_class").into_iter().flatten().collect();
    assert_eq!(classes, ["flag_not_applied"], "{printed}");
    assert!(!site.journal().contains("\"kind\":\"repeat_finished\""), "nothing is measured");
    assert!(!printed.contains(KEY), "{printed}");
    assert_eq!(leak(&site.run()), None, "the key is in no file");
    site.assert_as_found();
}
