//! What the tool shows of a server under stress, in small, against the real server over TLS.

use super::product::{checked, phases, small};
use super::{loadtest, text};

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

#[test]
fn what_those_who_stall_cost_is_told_apart_by_user_kernel_and_the_others() {
    // Two seconds of 1.3 MB/s to each reader before it is looked at: sockets are full by then.
    let heavy = ["--channels", "3", "--rate", "250", "--payload", "16000"];
    let lead = ["--set", "run.lead_seconds=2", "--repeat", "2"];
    let report = small("slow-readers", &[&heavy[..], &lead].concat());
    let stalled = report["sides"][0]["stalled"].as_array().unwrap();
    assert_eq!(stalled.len(), 1, "who reads slowly does not stall: {stalled:?}");
    let one = &stalled[0];
    assert_eq!((&one["repeats"], &one["full"]), (&2.into(), &3.into()), "{one}");
    assert_eq!(one["readers"], serde_json::json!([3, 3]), "{one}");
    // Less than this holds no unsent record, and more is no bound.
    let kernel = one["kernel_bytes"].as_u64().unwrap();
    assert!((4_096..1 << 20).contains(&kernel), "{one}");
    assert!(one["user_bytes"].as_f64().unwrap() >= 0.0, "{one}");
    assert_eq!(one["others"][0]["stream"], "talk");
    // What came in the lead is counted, and not measured.
    let stream = &phases(&report)[0]["streams"][0];
    let acked = stream["counts"]["acked"].as_u64().unwrap();
    let measured = super::figure(stream, "ack", "count");
    assert!(measured > 0 && measured * 3 < acked * 2, "{measured} of {acked}");
}

#[test]
fn a_server_that_stops_tells_everyone_and_has_everything_when_it_is_back() {
    let run = ["run", "drain", "--connections", "30", "--channels", "3", "--rate", "60"];
    let brief = ["--set", "phase.0.stop.at_seconds=1", "--set", "phase.1.seconds=1"];
    let report = checked(&[&run[..], &brief].concat());
    let [stopped, after] = &phases(&report)[..] else { panic!("two phases") };
    let stop = &stopped["stop"];
    assert_eq!(stop["exit_code"], 0, "{stop}");
    for figure in ["connections", "ended", "going_away"] {
        assert_eq!(stop[figure], 30, "{figure}: {stop}");
    }
    assert_eq!((&stop["unannounced"], &stop["told"]["count"]), (&0.into(), &30.into()), "{stop}");
    assert!(stop["after"]["max"].as_u64() > stop["after_us_min"].as_u64(), "they spread: {stop}");
    let counts = &after["streams"][0]["counts"];
    assert!(counts["delivered"].as_u64() > Some(0), "{counts}");
    assert!(after["stop"].is_null());
}

#[test]
fn a_server_of_somebody_else_is_not_stopped() {
    for scenario in ["drain", "overload"] {
        let output = loadtest(&["run", scenario, "--bare"]);
        assert_eq!(output.status.code(), Some(1), "{}", text(&output));
        assert!(text(&output).contains("not one that this run started"), "{}", text(&output));
    }
}

#[test]
fn what_is_too_much_stands_between_before_and_after() {
    let brief = ["--channels", "3", "--members", "10", "--rate", "20"];
    let report = small("overload", &brief);
    let names: Vec<_> = phases(&report).iter().map(|phase| phase["name"].as_str()).collect();
    assert_eq!(names, [Some("before"), Some("overload"), Some("after")]);
    let found = &report["sides"][0]["overloads"][0];
    let counts = &found["counts"];
    let of = |figure: &str| counts[figure].as_u64().unwrap();
    let refused: u64 =
        counts["refused"].as_object().unwrap().values().map(|n| n.as_u64().unwrap()).sum();
    // 200/s for two seconds; whether this machine finds that too much is not what is tested.
    assert!(of("planned") > 300, "{counts}");
    assert_eq!((of("acked") + refused, of("untimed")), (of("sent"), 0), "{counts}");
    assert!(found["ack_p99"][0].as_u64() > Some(0), "{found}");
    let memory: Vec<u64> =
        found["memory"].as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).collect();
    assert!(memory[1] >= memory[0] / 2 && memory[2] > 0, "{found}");
    // It stands still for most of the time, and each of its answers waits for that.
    let ack = super::figure(&phases(&report)[0]["streams"][0], "ack", "max");
    assert!(ack > 5_000, "{ack} us");
}
