//! vLLM itself behind a shell script of the service, as people write it today.

use crate::site::{alone, docker, image};
use crate::support::{Workplace, numbers, texts};
use crate::sweep::everything_in;

const KEY: &str = "sk-cle-du-script-4711";

/// Everything between guard loop and redirection is what a production service has.
const SERVICE: &str = r#"services:
  vllm:
    image: IMAGE
    entrypoint: ["/bin/sh", "-c"]
    command:
      - |
        set -e
        # Attend que le dépôt soit monté (« fantôme » sinon)
        i=0
        while [ ! -s /hf/poids ]; do
          i=$$((i+1))
          [ "$$i" -gt 60 ] && { echo "dépôt absent : vllm serve n'est pas lancé" >&2; exit 1; }
          sleep 1
        done
        exec vllm serve /models/tiny-qwen3 \
          --served-model-name tiny "modèle-d'été" \
          --host 0.0.0.0 --port 8000 \
          --api-key "$$SERVE_KEY" \
          --enforce-eager \
          --max-model-len ${MODEL_LENGTH_OF_THE_SITE:-8192} \
          --kv-cache-memory-bytes 64M \
          --max-num-seqs 16 \
          --max-num-batched-tokens 8192 \
          --no-enable-prefix-caching \
          --seed 0 --dtype bfloat16 \
          --tensor-parallel-size 1 --pipeline-parallel-size 1 \
          --override-generation-config '{"temperature":'"$${TEMPERATURE:-0.6}"'}' \
          --generation-config vllm \
          --reasoning-parser qwen3 \
          --enable-auto-tool-choice --tool-call-parser hermes \
          --uvicorn-log-level warning \
          --no-enable-log-requests --max-log-len 100 \
          --scheduling-policy fcfs \
          --trust-remote-code 2>&1
    environment: {SERVE_KEY: KEY}
    volumes: ["./hf:/hf:ro"]
    ipc: host
    restart: unless-stopped
    ports: ['127.0.0.1:8000:8000']
"#;

/// Two flags, each with two values; two launches are enough to prove them.
const GRID: &str = "
name: vllm-script
engine:
  docker: {compose: compose.yaml, service: vllm, gpus: false, caches: false}
baseline: few
include:
  - {name: few, max-num-seqs: 4, enable-prefix-caching: true}
  - {name: more, max-num-seqs: 8, enable-prefix-caching: false}
workloads:
  kv-cache: {prefix-tokens: [1024], prompts: 2, output-tokens: 4}
objective: {minimize: kv_cache.ttft_resent_ms}
strategy: {grid: {launches: 1, repeats: 1, seed: 1}}
";

#[test]
#[ignore = "needs vLLM"]
fn flags_in_a_guarded_script_are_proven_in_the_process_of_vllm() {
    let _turn = alone();
    let place = Workplace::new(GRID);
    let service = SERVICE.replace("IMAGE", &image()).replace(": KEY", &format!(": {KEY}"));
    std::fs::write(place.path("compose.yaml"), service).unwrap();
    std::fs::create_dir(place.path("hf")).unwrap();
    std::fs::write(place.path("hf/poids"), "poids").unwrap();
    let ran = place.run_on_docker(&["sweep", "grid.yaml", "--output", "run"]).expect(0);

    let results = place.results("run");
    let repeats = numbers(&results, "repeat");
    let names = texts(&results, "configuration");
    for (name, sequences, caching) in [("few", "4", "true"), ("more", "8", "false")] {
        let of = |row: &usize| names[*row].as_deref() == Some(name) && repeats[*row] > Some(0.0);
        let rows: Vec<usize> = (0..results.height()).filter(of).collect();
        assert_eq!(rows.len(), 1, "{name}: {}", ran.err);
        let shown = |column: &str| texts(&results, column)[rows[0]].clone().unwrap_or_default();
        assert_eq!(shown("status"), "ok", "{name}: {}", shown("reason"));
        assert_eq!(shown("effective.max-num-seqs"), sequences, "{name}");
        assert_eq!(shown("effective.enable-prefix-caching"), caching, "{name}");
        for flag in ["max-num-seqs", "enable-prefix-caching"] {
            let verdict = shown(&format!("verdict.{flag}"));
            assert!(matches!(verdict.as_str(), "passed" | "honoured"), "{name}: {flag}: {verdict}");
        }
    }
    let ours = format!("label=vllm-grid.folder={}", place.path("run").display());
    assert_eq!(docker(&["ps", "-aq", "--filter", &ours]), "");
    for text in [&ran.out, &ran.err, &everything_in(&place.path("run"))] {
        assert!(!text.contains(KEY), "the key is nowhere");
    }
}
