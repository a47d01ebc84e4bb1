use std::collections::BTreeSet;
use std::path::Path;

use super::*;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/compose").join(name)
}

fn printed(name: &str) -> String {
    std::fs::read_to_string(fixture(name)).expect("the fixture is in the repository")
}

fn source(file: PathBuf, service: &str) -> ComposeSource {
    ComposeSource { files: vec![file], service: service.to_owned(), ..ComposeSource::default() }
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
        "    image: i\n    secrets: [a]\n    configs: [b]\n    links: [c]\n    pid: 'service:d'\n",
    );
    for key in ["`secrets`", "`configs`", "`links`", "`pid: service:d`"] {
        assert!(several.contains(key), "{several}");
    }
    let deep = refusal("    image: i\n    deploy: {resources: {limits: {gpus: 1}}}\n");
    assert_eq!(deep, "`deploy.resources.limits.gpus`");
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
    let found = variables::positions(&source(fixture("production.yaml"), "vllm"), &names);
    let places: Vec<(&str, Option<(usize, usize)>)> =
        found.iter().map(|unset| (unset.variable.as_str(), unset.at)).collect();
    assert_eq!(
        places,
        [("GRID_TEST_TOKEN", Some((6, 18))), ("GRID_TEST_SEQS", Some((14, 49)))],
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
    let lines = |service: &str| -> Vec<Option<usize>> {
        variables::positions(&source(file.clone(), service), &names)
            .iter()
            .map(|unset| unset.at.map(|it| it.0))
            .collect()
    };
    assert_eq!(lines("a"), [Some(2)]);
    assert_eq!(lines("b"), [Some(9)]);
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
    let source = |service: &str| source(fixture("production.yaml"), service);
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
    let missing = read(&missing).await.expect_err("no such file").to_string();
    assert!(missing.contains("not-there.yaml") && missing.contains("o such file"), "{missing}");
}

/// A service of its lines, as the tool prints it.
fn service_of(lines: &str) -> Result<ServiceSpec, ComposeError> {
    let indented: String = lines.lines().flat_map(|line| ["    ", line, "\n"]).collect();
    service::parse(&format!("services:\n  s:\n    image: i\n{indented}"), "s", "p")
}

#[test]
fn everyday_options_are_carried_over_in_both_tools_forms() {
    let spec = service_of(
        "mem_limit: 64g\nmem_reservation: '1024'\nmemswap_limit: -1\ncpus: '8'\ncpu_period: 50ms\n\
         cpu_quota: 25000\ncpuset: 0-3\npids_limit: 100\noom_score_adj: -500\ndns: 192.0.2.53\n\
         dns_search: [a.example]\ninit: true\ntty: true\nstdin_open: true\nprivileged: true\n\
         group_add: [video, 44]\nstop_signal: SIGINT\nplatform: linux/amd64\npid: host\ncgroup: private\n\
         device_cgroup_rules: ['c 1:3 mr']\nsysctls: {net.core.somaxconn: 1024}\nstorage_opt: [size=10g]\n\
         annotations: {a: b}\npull_policy: always\nattach: false\nscale: 1",
    )
    .unwrap();
    let options = Options {
        memory: Some(64 << 30),
        memory_reservation: Some(1024),
        memory_swap: Some(-1),
        cpus: Some(8.0),
        cpu_period: Some(50_000),
        cpu_quota: Some(25_000),
        cpuset: Some("0-3".to_owned()),
        pids_limit: Some(100),
        oom_score_adj: Some(-500),
        dns: vec!["192.0.2.53".to_owned()],
        dns_search: vec!["a.example".to_owned()],
        init: Some(true),
        tty: Some(true),
        stdin_open: Some(true),
        privileged: Some(true),
        groups: vec!["video".to_owned(), "44".to_owned()],
        stop_signal: Some("SIGINT".to_owned()),
        platform: Some("linux/amd64".to_owned()),
        pid: Some("host".to_owned()),
        cgroup: Some("private".to_owned()),
        device_rules: vec!["c 1:3 mr".to_owned()],
        sysctls: [("net.core.somaxconn".to_owned(), "1024".to_owned())].into(),
        storage: [("size".to_owned(), "10g".to_owned())].into(),
        annotations: [("a".to_owned(), "b".to_owned())].into(),
        ..Options::default()
    };
    assert_eq!(spec.options, options);
    let spec = service_of(
        "mem_limit: 1g\ndeploy:\n  mode: replicated\n  replicas: 1\n  placement: {}\n  resources:\n    \
         limits: {memory: 2g, cpus: '1.5', pids: 7}\n    reservations: {memory: 1g, cpus: '1'}",
    )
    .unwrap();
    let limits = (spec.options.memory, spec.options.cpus, spec.options.pids_limit);
    assert_eq!(limits, (Some(2 << 30), Some(1.5), Some(7)), "`deploy` counts more");
    assert_eq!(spec.options.memory_reservation, Some(1 << 30));
}

#[test]
fn what_no_field_takes_is_refused_by_name() {
    for (lines, named) in [
        ("pid: 'service:other'", "`pid: service:other`"),
        ("mem_limit: much", "`mem_limit`: `much` is no size"),
        ("cpus: many", "`cpus: many`"),
        ("links: [db]", "`links`"),
        ("volumes_from: [other]", "`volumes_from`"),
        ("blkio_config: {weight: 300}", "`blkio_config`"),
        ("scale: 2", "`scale`"),
        ("deploy: {replicas: 2}", "`deploy.replicas`"),
        ("deploy: {resources: {limits: {gpus: 1}}}", "`deploy.resources.limits.gpus`"),
        (
            "volumes: [{type: bind, source: /a, target: /b, bind: {recursive: disabled}}]",
            "a volume's `recursive`",
        ),
    ] {
        let error = service_of(lines).unwrap_err().to_string();
        assert!(error.contains(named), "{lines}: {error}");
    }
}

#[test]
fn options_of_mounts_are_kept_and_cdi_names_are_requests() {
    let spec = service_of(
        "devices:\n- nvidia.com/gpu=all\n- {source: vendor.com/net=eth0, target: vendor.com/net=eth0, permissions: rwm}\n\
         - /dev/kfd\nvolumes:\n- /a:/b:ro,z,rshared\n- {type: bind, source: /c, target: /d, bind: {create_host_path: false, propagation: rslave}}\n\
         - {type: bind, source: /e, target: /f, bind: {create_host_path: true, selinux: Z}}\n\
         - {type: volume, source: hub, target: /g, volume: {nocopy: true, subpath: sub}}\n\
         - {type: tmpfs, target: /h, tmpfs: {size: '1024', mode: 448}}",
    )
    .unwrap();
    assert_eq!(spec.devices, ["/dev/kfd"]);
    assert_eq!(spec.gpus.len(), 1);
    assert_eq!(spec.gpus[0].driver.as_deref(), Some("cdi"));
    assert_eq!(spec.gpus[0].device_ids, ["nvidia.com/gpu=all", "vendor.com/net=eth0"]);
    let options: Vec<&[String]> = spec.mounts.iter().map(|it| &*it.options).collect();
    assert_eq!(options, [&["z", "rshared"][..], &["rslave"], &["Z"], &["nocopy"], &[]]);
    assert!(spec.mounts[0].read_only && !spec.mounts[1].create_host_path);
    assert_eq!(spec.mounts[3].subpath.as_deref(), Some("sub"));
    assert_eq!((spec.mounts[4].tmpfs_size, spec.mounts[4].tmpfs_mode), (Some(1024), Some(448)));
}
