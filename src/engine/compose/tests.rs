use std::collections::BTreeSet;
use std::path::Path;

use super::*;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/compose").join(name)
}

fn printed(name: &str) -> String {
    std::fs::read_to_string(fixture(name)).expect("the fixture is in the repository")
}

fn production(version: &str) -> ServiceSpec {
    service::parse(&printed(version), "vllm", "compose").expect("it is understood")
}

#[test]
fn both_versions_of_the_tool_give_the_same_service() {
    let (one, two) = (production("production.v1.yaml"), production("production.v2.yaml"));
    for (version, spec) in [("v1", &one), ("v2", &two)] {
        assert_eq!(spec.image, "vllm/vllm-openai:v0.10.0", "{version}");
        let command = spec.command.clone().expect("it has one");
        assert_eq!(
            command,
            [
                "--model",
                "Qwen/Qwen3-32B-AWQ",
                "--max-num-seqs",
                "32",
                "--rope_scaling",
                r#"{"rope_type":"yarn","factor":4.0}"#,
                "--enable-chunked-prefill",
                "true",
                "--port",
                "5002",
                "--served-model-name",
                "$HOME",
            ],
            "{version}"
        );
        assert_eq!(spec.port(), 5002);
        assert_eq!(spec.environment["LOOKS_LIKE_A_NUMBER"], "1e3", "{version}");
        assert_eq!(spec.environment["DOLLARS"], "a$b", "{version}");
        assert_eq!(spec.environment["NVIDIA_VISIBLE_DEVICES"], "0,1", "{version}");
        assert_eq!(spec.shm_size, Some(16 << 30), "{version}");
        assert_eq!(spec.networks, ["shared-back", "compose_default"], "{version}");
        assert_eq!(spec.extra_hosts, ["models:10.0.0.4"], "{version}");
        assert_eq!(spec.tmpfs, ["/scratch"], "{version}");
        assert_eq!(spec.ulimits.len(), 3, "{version}");
        for key in
            ["container_name", "ports", "restart", "healthcheck", "labels", "hostname", "logging"]
        {
            assert!(spec.replaced.iter().any(|replaced| replaced == key), "{version}: {key}");
        }
    }
    assert_eq!(one.environment, two.environment);
    let sources = |spec: &ServiceSpec| -> BTreeSet<(Option<String>, String, bool)> {
        spec.mounts.iter().map(|m| (m.source.clone(), m.target.clone(), m.read_only)).collect()
    };
    assert_eq!(sources(&one), sources(&two));
    assert!(sources(&one).contains(&(
        Some("compose_hf".to_owned()),
        "/root/.cache/huggingface".to_owned(),
        false
    )));
    assert_eq!(
        (one.ulimits, one.cap_add, one.security_opt),
        (two.ulimits, two.cap_add, two.security_opt)
    );
}

#[test]
fn gpu_requests_come_from_reservations_and_from_gpus() {
    let spec = production("production.v2.yaml");
    assert_eq!(spec.gpus.len(), 2);
    assert_eq!(spec.gpus[0].device_ids, ["0", "1"]);
    assert_eq!((spec.gpus[0].count, spec.gpus[1].count), (None, Some(-1)));
    assert_eq!(spec.gpus[1].capabilities, ["gpu"]);
    assert!(production("production.v1.yaml").gpus.is_empty());
}

#[test]
fn what_cannot_be_carried_over_is_refused_by_name() {
    let refusal = |yaml: &str| {
        let yaml = format!("services:\n  s:\n{yaml}");
        match service::parse(&yaml, "s", "p") {
            Err(ComposeError::Refused { keys, .. }) => keys.join("; "),
            other => format!("{other:?}"),
        }
    };
    assert!(refusal("    build: .\n").contains("`build` without `image`"));
    assert!(refusal("    image: i\n    network_mode: host\n").contains("`network_mode: host`"));
    let several = refusal(
        "    image: i\n    secrets: [a]\n    configs: [b]\n    privileged: true\n    pid: host\n",
    );
    for key in ["`secrets`", "`configs`", "`privileged`", "`pid`"] {
        assert!(several.contains(key), "{several}");
    }
    let deep = refusal("    image: i\n    deploy: {resources: {limits: {memory: 1g}}}\n");
    assert_eq!(deep, "`deploy.resources.limits`");
    assert!(service::parse("services:\n  s:\n    image: i\n    build: .\n", "s", "p").is_ok());
}

#[test]
fn a_service_that_is_not_there_is_named_with_those_that_are() {
    let error =
        service::parse(&printed("production.v1.yaml"), "vlm", "p").expect_err("no such service");
    let text = error.to_string();
    assert!(text.contains("`vlm`") && text.contains("proxy") && text.contains("vllm"), "{text}");
}

#[test]
fn a_command_is_split_as_a_shell_would_and_lists_stay() {
    let command = |yaml: &str| {
        let yaml = format!("services:\n  s:\n    image: i\n    command: {yaml}\n");
        service::parse(&yaml, "s", "p").map(|spec| spec.command)
    };
    assert_eq!(
        command(r#"'--a "b c" --j ''{"x": 1e3}'''"#).expect("good"),
        Some(vec!["--a".to_owned(), "b c".to_owned(), "--j".to_owned(), "{x: 1e3}".to_owned()])
            .map(|mut words| {
                words[3] = r#"{"x": 1e3}"#.to_owned();
                words
            })
    );
    assert_eq!(
        command("[--a, 1e3, 'b c']").expect("good"),
        Some(vec!["--a".to_owned(), "1e3".to_owned(), "b c".to_owned()])
    );
    assert_eq!(command("null").expect("good"), None);
    assert!(command(r#"'--a "b'"#).is_err());
}

#[test]
fn unset_variables_are_found_where_the_service_uses_them() {
    let stderr = "The GRID_TEST_SEQS variable is not set. Defaulting to a blank string.\n\
                  time=\"x\" level=warning msg=\"The \\\"GRID_TEST_TOKEN\\\" variable is not set. Defaulting to a blank string.\"\n\
                  The GRID_TEST_OTHER variable is not set. Defaulting to a blank string.\n\
                  The GRID_TEST_CACHE variable is not set. Defaulting to a blank string.\n\
                  The GRID_TEST_COMMENT variable is not set. Defaulting to a blank string.\n";
    let names = variables::unset_names(stderr);
    assert_eq!(names.len(), 5, "{names:?}");
    let found = variables::positions(&[fixture("production.yaml")], "vllm", &names);
    let places: Vec<(String, usize, usize)> =
        found.iter().map(|unset| (unset.variable.clone(), unset.line, unset.column)).collect();
    assert_eq!(
        places,
        [("GRID_TEST_TOKEN".to_owned(), 6, 18), ("GRID_TEST_SEQS".to_owned(), 14, 49)],
        "not the comment's, not the other service's, not one with a default"
    );
    assert!(found[0].file.ends_with("base/common.yaml"));
}

#[test]
fn a_variable_that_the_file_demands_is_found_in_either_tool_s_words() {
    let v1 = "Missing mandatory value for \"command\" option interpolating m --api-key \
              ${KEY:?set KEY} --seed ${SEED:?set SEED} --x ${X:-1}\n in service \"vllm\": set KEY\n";
    let v2 = "error while interpolating services.vllm.command: required variable KEY is missing a \
              value: set KEY\n";
    for stderr in [v1, v2] {
        let names = variables::unset_names(stderr);
        assert_eq!(names.iter().collect::<Vec<_>>(), ["KEY"], "{stderr}");
    }
    assert!(variables::unset_names("no configuration file ${KEY:?x}").is_empty());
}

#[test]
fn a_value_that_the_tool_prints_is_not_shown() {
    for message in [
        "ERROR: Invalid interpolation format for \"command\" option in service \"llm\": \"cd / && vllm serve --x \"a\" --api-key sk-1 $(nproc)\"",
        "invalid interpolation format for services.llm.command.0: \"vllm serve --api-key sk-1 $(nproc)\". You may need to escape any $ with another $",
        "Missing mandatory value for \"command\" option interpolating m --api-key sk-1 ${KEY:?set KEY}\n in service \"llm\": set KEY",
    ] {
        let shown = tool::without_values(message);
        assert!(!shown.contains("sk-1") && !shown.contains("nproc"), "{shown}");
        assert!(shown.contains("llm") && shown.contains("command"), "{shown}");
    }
    let other = "service \"a\" has neither an image nor a build context: \"x\"";
    assert_eq!(tool::without_values(other), other);
}

#[test]
fn a_script_is_found_in_either_key_and_in_either_form() {
    let spec = |keys: &str| {
        let yaml = format!("services:\n  s:\n    image: i\n{keys}");
        service::parse(&yaml, "s", "p").expect("it is understood")
    };
    for (keys, found) in [
        (
            "    entrypoint: [/bin/sh, -c]\n    command: ['vllm serve m --api-key sk-1']\n",
            "command",
        ),
        ("    entrypoint: /bin/sh -c\n    command: vllm serve m --api-key sk-1\n", "command"),
        ("    entrypoint: bash -lc 'vllm serve m --api-key sk-1'\n", "entrypoint"),
        (
            "    entrypoint: [bash, -ec, 'vllm serve m --api-key sk-1', name]\n    command: [x]\n",
            "entrypoint",
        ),
        ("    command: /bin/sh -c \"cd / && vllm serve m --api-key sk-1\"\n", "command"),
        ("    command: [bash, -c, 'vllm serve m --api-key sk-1']\n", "command"),
        (
            "    entrypoint: [tini, --]\n    command: [bash, -c, 'vllm serve m --api-key sk-1']\n",
            "command",
        ),
    ] {
        let spec = spec(keys);
        assert_eq!(spec.view(None).part().key(), found, "{keys}");
        assert!(!format!("{spec:?}").contains("sk-1"), "{spec:?}");
    }
    for keys in ["", "    command: vllm serve m\n", "    entrypoint: [vllm, serve]\n"] {
        let view = spec(keys).view(None);
        assert!(view.script_text().is_none() && view.unreadable().is_none(), "{keys}");
    }
}

#[test]
fn a_key_of_a_service_is_found_where_it_counts() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| {
        let file = folder.path().join(name);
        std::fs::write(&file, text).expect("written");
        file
    };
    let base = write("base.yaml", "services:\n  a:\n    image: i\n    command: x\n");
    let main = write(
        "c.yaml",
        "x-run: &run\n  entrypoint: [sh, -c]\nservices:\n  a:\n    <<: *run\n    extends: {file: base.yaml, service: a}\n  b: {image: i, command: [x]}\n",
    );
    let over = write("over.yaml", "services:\n  b:\n    command: y\n");
    let place = |files: &[&PathBuf], service: &str, key: &str| {
        let files: Vec<PathBuf> = files.iter().map(|file| (*file).clone()).collect();
        let place = lines::place_of(&files, service, key);
        (place.file.file_name().expect("a name").to_owned(), place.line)
    };
    let expected = |file: &str, line: Option<usize>| (std::ffi::OsString::from(file), line);
    assert_eq!(place(&[&main], "a", "entrypoint"), expected("c.yaml", Some(2)), "an anchor");
    assert_eq!(place(&[&main], "a", "command"), expected("base.yaml", Some(4)), "extended");
    assert_eq!(place(&[&main], "b", "command"), expected("c.yaml", Some(7)), "a flow mapping");
    assert_eq!(place(&[&main, &over], "b", "command"), expected("over.yaml", Some(3)));
    assert_eq!(place(&[&base], "c", "command"), expected("base.yaml", None));
}

#[test]
fn a_variable_in_a_merged_anchor_is_the_service_s() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("c.yaml");
    let text = "x-env: &env\n  KEY: ${GRID_A}\nservices:\n  a:\n    image: i\n    environment:\n      <<: *env\n  b:\n    image: ${GRID_B:?say it}\n";
    std::fs::write(&file, text).expect("written");
    let names: BTreeSet<String> = ["GRID_A", "GRID_B"].map(str::to_owned).into();
    let lines = |service: &str| -> Vec<usize> {
        variables::positions(std::slice::from_ref(&file), service, &names)
            .iter()
            .map(|unset| unset.line)
            .collect()
    };
    assert_eq!(lines("a"), [2]);
    assert_eq!(lines("b"), [9]);
}

#[test]
fn values_are_not_shown() {
    let shown = format!("{:?}", production("production.v1.yaml"));
    assert!(!shown.contains("hf_x"), "{shown}");
    assert!(shown.contains("HF_TOKEN"));
}

#[tokio::test]
#[ignore = "needs Docker"]
async fn the_real_tool_reads_the_real_file() {
    let source = |service: &str| ComposeSource {
        files: vec![fixture("production.yaml")],
        profiles: Vec::new(),
        service: service.to_owned(),
    };
    match read(&source("vllm")).await {
        Err(ComposeError::Unset(unset)) => {
            let names: Vec<&str> = unset.iter().map(|unset| unset.variable.as_str()).collect();
            assert_eq!(names, ["GRID_TEST_TOKEN", "GRID_TEST_SEQS"]);
        }
        other => panic!("two variables are not set, not {other:?}"),
    }
    let proxy = read(&source("built")).await.expect_err("build without image");
    assert!(proxy.to_string().contains("`build` without `image`"), "{proxy}");
    assert!(matches!(read(&source("nobody")).await, Err(ComposeError::NoService { .. })));
    let missing = ComposeSource { files: vec![fixture("not-there.yaml")], ..source("vllm") };
    assert!(matches!(read(&missing).await, Err(ComposeError::Tool { .. })));
}
