//! What the tool shows of a server under stress, in small, against the real server over TLS.

use super::product::{phases, small};

#[test]
fn whoever_comes_and_goes_leaves_nothing_behind() {
    let rate = |phase: &str| format!("phase.{phase}.visits.per_second=30");
    let (first, last) = (rate("0"), rate("1"));
    // Small as it is, the process is still warming up.
    let memory = ["--set", "run.memory_growth_max=1"];
    let visits = ["--channels", "5", "--members", "6", "--set", &first, "--set", &last];
    let report = small("come-and-go", &[&visits[..], &memory].concat());
    for phase in phases(&report) {
        let found = &phase["visits"];
        assert_eq!((&found["planned"], &found["failed"]), (&60.into(), &0.into()), "{found}");
        // A fifth, drawn; each step in turn.
        assert!(found["broken"].as_object().unwrap().len() >= 3, "{found}");
        let tables = phase["rest"]["tables"].as_object().unwrap();
        assert_eq!(tables["damso_sessions"], 30.0, "{tables:?}");
        assert_eq!(tables["damso_guests"], 0.0, "{tables:?}");
    }
    let growth = report["sides"][0]["growth"].as_array().unwrap();
    for what in ["memory", "descriptors", "damso_sessions", "damso_budgets", "damso_mailbox_items"]
    {
        assert!(growth.iter().any(|one| one["what"] == what), "{what}: {growth:?}");
    }
}
