//! What a dead run stopped with production, such as a watchdog: it is named as long as it is
//! down, also where somebody started production alone.

use super::*;

fn dead() -> Holder {
    Holder { started: 1, ..Holder::this() }
}

#[test]
fn a_companion_that_is_owed_is_named_once_production_runs_again() {
    let site = Site::new();
    let paused = [(COMPANION, "shop-watchdog")];
    let (folder, _) = site.owes_with(&site.place, dead(), &paused);
    site.state.lock().unwrap().companion = Some(false);
    let down = "A COMPANION OF PRODUCTION IS DOWN: container shop-watchdog (efefefefefef)";
    let advice = letters(&format!("vllm-grid recover {}", folder.display()));
    let says = |arguments: &[&str], code| {
        let said = words(&site.run(arguments, Some(KEY)).expect(code));
        if said.contains(down) {
            assert!(letters(&said).contains(&advice), "{said}");
            assert!(said.contains("docker start shop-watchdog"), "{said}");
        }
        (said.contains(down), said)
    };
    let both = [&["sweep", "grid.yaml"][..], &["doctor", "grid.yaml"]];
    for arguments in both {
        let (is_named, said) = says(arguments, 3);
        assert!(!is_named && said.contains("PRODUCTION IS DOWN: container shop-vllm"), "{said}");
    }
    // Somebody starts production, and not what was stopped with it.
    site.state.lock().unwrap().running = true;
    for arguments in both {
        let (is_named, said) = says(arguments, 3);
        assert!(is_named && !said.contains("PRODUCTION IS DOWN: container shop-vllm"), "{said}");
        assert!(said.contains("stopped it with shop-vllm"), "{said}");
    }
    assert!(!site.place.path("runs").exists(), "nothing was begun");
    for (companion, is_said) in [(Some(true), false), (None, false), (Some(false), true)] {
        site.state.lock().unwrap().companion = companion;
        let ran = site.run(&["doctor", "grid.yaml"], Some(KEY));
        assert_eq!(words(&ran).contains(down), is_said, "{companion:?}: {}", ran.out);
    }
    site.run(&["recover"], Some(KEY)).expect(0);
    assert_eq!(site.state.lock().unwrap().done, ["started the companion"]);
    let ran = site.run(&["doctor", "grid.yaml"], Some(KEY));
    assert!(!words(&ran).contains("COMPANION"), "{}", ran.out);
}
