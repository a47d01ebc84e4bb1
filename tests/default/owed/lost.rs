//! What is found of a run where more than its folder is lost: the state folder, the socket
//! that was noted, the daemon itself; and what is said where nothing is owed any more.

use super::*;

/// Labels of a candidate of a dead run, which had stopped production.
fn labels(site: &Site, run: &str) -> Value {
    let holder = Holder { started: 1, ..Holder::this() };
    let owed = json!({
        "docker": "unix:///where/it/was.sock", "id": ID, "name": "shop-vllm",
        "key_variable": "VLLM_API_KEY",
    });
    json!({
        "vllm-grid.sweep": "gone", "vllm-grid.folder": site.place.path("gone"),
        "vllm-grid.run": run, "vllm-grid.uses": "cpu", "vllm-grid.production": owed.to_string(),
        "vllm-grid.holder": serde_json::to_string(&holder).unwrap(),
    })
}

#[test]
fn a_candidate_s_label_names_the_production_that_is_owed_where_all_else_is_lost() {
    let site = Site::new();
    let run = new_run_id();
    site.state.lock().unwrap().candidate = Some(labels(&site, &run));
    // It cannot be started at first: then the label is gone, and a note of it is not.
    site.state.lock().unwrap().broken = true;
    let said = words(&site.run(&["recover"], Some(KEY)).expect(3));
    assert!(said.contains("PRODUCTION IS DOWN") && said.contains("shop-vllm"), "{said}");
    assert!(site.state.lock().unwrap().candidate.is_none());
    site.state.lock().unwrap().broken = false;
    let said = words(&site.run(&["recover"], Some(KEY)).expect(0));
    assert!(said.contains("production runs and answers again"), "{said}");
    assert_eq!(site.state.lock().unwrap().done, ["removed", "started"]);
    let gone = site.place.path("gone").display().to_string();
    for name in [&gone, &run] {
        let said = site.run(&["recover", name], None).expect(0).out;
        assert!(said.starts_with("nothing is owed: "), "{said}");
    }
}

/// Between the loss and `recover`, who sweeps or looks must learn what to start.
#[test]
fn a_candidate_s_label_alone_is_enough_to_say_that_production_is_down() {
    let site = Site::new();
    let run = new_run_id();
    site.state.lock().unwrap().candidate = Some(labels(&site, &run));
    let down = "PRODUCTION IS DOWN: container shop-vllm (abababababab)";
    let folder = site.place.path("gone");
    let advice = letters(&format!("vllm-grid recover {}", folder.display()));
    let says = |arguments: &[&str], code| {
        let said = words(&site.run(arguments, Some(KEY)).expect(code));
        let count = said.matches("PRODUCTION IS DOWN").count();
        assert!(count == 0 || said.contains(down) && letters(&said).contains(&advice), "{said}");
        assert_eq!(said.contains("it is not changed"), false, "{arguments:?}: {said}");
        count
    };
    for (arguments, code) in [
        (&["sweep", "grid.yaml"][..], 3),
        (&["doctor", "grid.yaml"], 3),
        (&["plan", "grid.yaml"], 0),
    ] {
        assert_eq!(says(arguments, code), 1, "{arguments:?}");
    }
    // The folder is there, and the state folder is lost: its journal counts.
    journal(&folder);
    assert_eq!(says(&["sweep", "grid.yaml"], 3), 1);
    let (mut open, _) = Journal::open(&folder.join("journal.jsonl")).unwrap();
    let production = ProductionStep::Proven { id: ID.to_owned() };
    open.append(jiff::Timestamp::now(), Entry::Production { production }).unwrap();
    drop(open);
    assert_eq!(says(&["sweep", "grid.yaml"], 3), 0, "it was proven");
    std::fs::remove_dir_all(&folder).unwrap();
    site.state.lock().unwrap().running = true;
    assert_eq!(says(&["sweep", "grid.yaml"], 3), 0, "somebody started it");
}

/// The folder is there without its journal, and the state folder is lost.
#[test]
fn a_label_counts_where_the_journal_is_lost() {
    let site = Site::new();
    let run = new_run_id();
    std::fs::create_dir_all(site.place.path("gone/launches")).unwrap();
    site.state.lock().unwrap().candidate = Some(labels(&site, &run));
    let said = words(&site.run(&["recover"], Some(KEY)).expect(0));
    assert!(said.contains("production runs and answers again"), "{said}");
    assert!(site.is_running());
}

#[test]
fn a_label_is_not_believed_where_the_state_folder_knows_the_run() {
    let site = Site::new();
    let state = StateFolder::at(&site.place.path("state")).unwrap();
    let run = new_run_id();
    let holder = Holder { started: 1, ..Holder::this() };
    let holder = holder.in_state(&state).of_run(&run, &site.place.path("gone"));
    let ledger = Ledger::of_run(&state, "gone", &holder, &Uses::Cpu);
    ledger.owe(Owed::Containers { docker: site.socket() }).unwrap();
    site.state.lock().unwrap().candidate = Some(labels(&site, &run));
    site.run(&["recover"], Some(KEY)).expect(0);
    assert_eq!(site.state.lock().unwrap().done, ["removed"], "production was paid for already");
}

#[test]
fn recover_says_the_same_any_number_of_times_by_path_by_old_path_and_by_id() {
    let site = Site::new();
    let (was, run) = site.owes();
    let now = site.place.path("moved");
    journal(&now);
    let manifest = json!({"no": "manifest"});
    std::fs::write(now.join("manifest.json"), manifest.to_string()).unwrap();
    site.run(&["recover", &run], Some(KEY)).expect(0);
    let (was, now) = (was.display().to_string(), now.display().to_string());
    for _ in 0..2 {
        for name in [&was, &run] {
            let said = site.run(&["recover", name], Some(KEY)).expect(0).out;
            assert!(said.starts_with("nothing is owed: "), "{name}: {said}");
        }
        site.run(&["recover", &now], Some(KEY)).expect(0);
    }
    let said = words(&site.run(&["recover", "never-there"], Some(KEY)).expect(3));
    assert!(said.contains("holds no run"), "{said}");
}

/// The same daemon has another socket now, as `/run/docker.sock` in a container's mount.
#[test]
fn a_debt_whose_socket_is_dead_is_paid_through_another_socket_of_the_daemon() {
    let site = Site::new();
    let state = StateFolder::at(&site.place.path("state")).unwrap();
    let owe = |id: &str| {
        let (run, folder) = (new_run_id(), site.place.path("gone"));
        let holder = Holder { started: 1, ..Holder::this() };
        let holder = holder.in_state(&state).of_run(&run, &folder);
        let ledger = Ledger::of_run(&state, "gone", &holder, &Uses::Cpu);
        let docker = format!("unix://{}", site.place.path("dead.sock").display());
        ledger.owe(Owed::Containers { docker: docker.clone() }).unwrap();
        let owed = ProductionOwed {
            docker,
            id: id.to_owned(),
            name: "shop-vllm".to_owned(),
            key_variable: Some("VLLM_API_KEY".to_owned()),
            ..ProductionOwed::default()
        };
        ledger.owe(Owed::Production(owed)).unwrap();
        run
    };
    let other = owe(&ID.replace("ab", "ef"));
    let said = words(&site.run(&["recover", &other], Some(KEY)).expect(3));
    assert!(said.contains("dead.sock") && said.contains("set DOCKER_HOST"), "{said}");
    assert!(!site.is_running(), "that name is another container's there: {said}");
    let run = owe(ID);
    let said = words(&site.run(&["recover", &run], Some(KEY)).expect(3));
    assert!(said.contains("production runs and answers again"), "{said}");
    assert!(site.is_running());
    let notes = std::fs::read_dir(site.place.path("state/debts")).unwrap().flatten();
    let left: Vec<_> = notes.map(|it| it.file_name().into_string().unwrap()).collect();
    assert_eq!(left.len(), 2, "{left:?}");
    assert!(left.iter().all(|name| name.starts_with(&other)), "{left:?}");
}

#[test]
fn a_daemon_that_is_expected_and_does_not_answer_is_no_reason_to_say_nothing() {
    let place = Workplace::new(GRID);
    for arguments in [&["recover"][..], &["recover", "nobody-knows"]] {
        let said = words(&place.run(arguments).expect(3));
        assert!(said.contains("unix:///nonexistent/docker.sock"), "{said}");
        assert!(said.contains("labels"), "{said}");
        assert!(!said.contains("nothing to recover"), "{said}");
    }
}
