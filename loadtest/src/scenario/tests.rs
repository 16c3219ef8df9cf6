//! Mistakes in a scenario, and what people read of them.

use super::*;

fn sets(sets: &[&str]) -> Vec<String> {
    sets.iter().map(|set| (*set).into()).collect()
}

fn of_text(text: &str) -> Result<Scenario, ScenarioError> {
    let file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
    std::fs::write(file.path(), text).unwrap();
    read(file.path().to_str().unwrap(), &[])
}

#[test]
fn every_shipped_scenario_makes_sense_and_says_what_it_is_for() {
    for (name, _) in SHIPPED {
        let scenario = read(name, &[]).unwrap();
        assert!(!scenario.about.is_empty(), "{name}");
        assert!(!scenario.phases().is_empty(), "{name}");
    }
}

#[test]
fn every_file_in_scenarios_is_shipped() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios");
    for entry in std::fs::read_dir(directory).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let name = name.strip_suffix(".toml").expect("only scenarios are there");
        assert!(SHIPPED.iter().any(|(shipped, _)| *shipped == name), "{name}");
    }
}

#[test]
fn a_value_is_replaced_by_its_path() {
    let scenario = read(
        "mixed",
        &sets(&[
            "people.connections=50",
            "channels.teams.members=5",
            "channels.halls.members=all",
            "traffic.scroll.rate=7.5",
            "phase.day.storm={ at_seconds = 1, share = 0.5 }",
            "traffic.0.arrival=constant",
        ]),
    )
    .unwrap();
    assert_eq!(scenario.people.connections, 50);
    assert_eq!(scenario.channels[0].members, Members::Count(5));
    assert_eq!(scenario.channels[1].members, Members::All);
    assert_eq!(scenario.traffic[3].rate, 7.5);
    assert_eq!(scenario.traffic[0].arrival, crate::schedule::Arrival::Constant);
    assert_eq!(scenario.phase[0].storm.unwrap().share, 0.5);
    // A table that is not written in the file is made.
    assert_eq!(read("broadcast", &sets(&["run.seconds=5"])).unwrap().run.seconds, 5.0);
}

#[test]
fn a_mistake_is_named_and_the_right_word_is_suggested() {
    let cases: [(&str, &[&str]); 10] = [
        ("[people]\nconections = 5", &["line 2", "did you mean `connections`"]),
        ("abuot = 'x'", &["did you mean `about`"]),
        ("[[channels]]\nname='a'\ncount=1\nkind='groop'", &["line 4", "did you mean `group`"]),
        ("[people]\nconnections = 'many'", &["line 2", "invalid type"]),
        ("[[channels]]\nname='a'\ncount=1\nmembers='some'", &["\"all\""]),
        ("[[channels]]\nname='a'\ncount=1\nmembers=2000", &["nobody is in a channel twice"]),
        (
            "[[channels]]\nname='rooms'\ncount=1\n[[traffic]]\nname='t'\nchannels='room'\nrate=1",
            &["did you mean `rooms`"],
        ),
        ("[[channels]]\nname='a'\ncount=1\n[[traffic]]\nname='t'\nchannels='a'\nrate=0", &["rate"]),
        ("[[phase]]\nname='p'\nwithout=['x']", &["no [[traffic]] is named `x`"]),
        ("[run", &["line 1"]),
    ];
    for (text, hints) in cases {
        let error = of_text(text).expect_err(text).to_string();
        for hint in hints {
            assert!(error.contains(hint), "{text}: {error}");
        }
    }
}

#[test]
fn a_wrong_override_is_named() {
    let cases = [
        ("people.conections=5", "did you mean `connections`"),
        ("traffic.tok.rate=5", "it has talk"),
        ("people.connections", "it should look like"),
        ("people.connections=five", "people.connections=five"),
        ("people.connections.x=1", "is a value"),
    ];
    for (set, hint) in cases {
        let error = read("groups", &sets(&[set])).expect_err(set).to_string();
        assert!(error.contains(hint), "{set}: {error}");
    }
}

#[test]
fn an_unknown_scenario_is_answered_with_those_that_are_there() {
    let error = read("brodcast", &[]).unwrap_err().to_string();
    assert!(error.contains("did you mean `broadcast`") && error.contains("mixed"), "{error}");
    let error = read("nowhere.toml", &[]).unwrap_err().to_string();
    assert!(error.contains("nowhere.toml"), "{error}");
}
