//! Configurations that are read, and those that are refused.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{CommandFactory as _, Parser as _};
use proptest::prelude::*;

use super::cli::Cli;
use super::default::{annotated, effective};
use super::mistake::Mistakes;
use super::origin::Origin;
use super::place::Place;
use super::reading::Reading;
use super::settings::Config;
use super::table::{SETTINGS, TOKEN_KEYS};
use super::{file, table};
use crate::model::limits::{Limits, Relation};

/// Reads a file's text as if it stood in `/etc/damso.toml`.
fn file(text: &str) -> Result<Config, Mistakes> {
    let mut reading = Reading::default();
    file::apply(Path::new("/etc/damso.toml"), text, &mut reading);
    reading.finish(false)
}

fn read(flags: &[&str], environment: &[(&str, &str)]) -> Result<Config, Mistakes> {
    let cli = Cli::try_parse_from(["damso"].iter().chain(flags)).expect("flags that there are");
    let environment = environment.iter().map(|(name, value)| (name.into(), value.into()));
    cli.config(environment.collect::<Vec<(OsString, OsString)>>())
}

/// Where mistakes are, and what they are about.
fn told(read: Result<Config, Mistakes>) -> Vec<(String, String)> {
    let mistakes = read.expect_err("there are mistakes");
    let told = |mistake: &super::Mistake| {
        (mistake.origin().to_string().replace("/etc/damso.toml:", ""), mistake.subject().to_owned())
    };
    mistakes.each().iter().map(told).collect()
}

#[test]
fn the_command_line_is_well_formed() {
    Cli::command().debug_assert();
}

#[test]
fn flags_go_before_the_environment_before_the_file_before_defaults() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("damso.toml");
    std::fs::write(&path, "[server]\nshards = 3\n[heartbeat]\nprobe_after = \"20s\"\n").unwrap();
    let path = path.to_str().unwrap();
    let variable = ("DAMSO_SHARDS", "4");
    let line = Origin::File { path: path.into(), line: 2 };
    let by_variable = Origin::Variable("DAMSO_SHARDS".to_owned());
    for (flags, environment, shards, origin) in [
        (vec![], vec![], 0, Origin::Default),
        (vec!["--config", path], vec![], 3, line.clone()),
        (vec![], vec![("DAMSO_CONFIG", path)], 3, line.clone()),
        (vec!["--config", path], vec![("DAMSO_CONFIG", "nothing"), ("DAMSO_SHARDS", "")], 3, line),
        (vec![], vec![variable], 4, by_variable.clone()),
        (vec!["--config", path], vec![variable], 4, by_variable),
        (
            vec!["--config", path, "--shards", "5"],
            vec![variable],
            5,
            Origin::Flag("--shards".to_owned()),
        ),
        (
            vec!["token", "--user", "a", "--set", "server.shards=6"],
            vec![variable],
            6,
            Origin::Flag("--set".to_owned()),
        ),
    ] {
        let config = read(&flags, &environment).expect("a good configuration");
        let found = (config.shards, config.origin("server.shards"));
        assert_eq!(found, (shards, origin), "{flags:?} {environment:?}");
        let from_file = !flags.is_empty() && flags[0] == "--config";
        let probe = if from_file { 20 } else { Limits::DEFAULT.probe_after.as_secs() };
        assert!(
            environment.iter().any(|(name, _)| *name == "DAMSO_CONFIG")
                || config.limits.probe_after == Duration::from_secs(probe)
        );
    }
}

#[test]
fn the_annotated_file_is_exactly_the_defaults() {
    let mut reading = Reading::default();
    file::apply(Path::new("damso.toml"), &annotated(), &mut reading);
    let read = reading.finish(false).expect("no mistakes");
    assert_eq!(Config { origins: Default::default(), ..read }, Config::default());
    // What has no value by default can be given where it stands.
    let text = annotated().replace("# cert =", "cert =").replace("# key =", "key =");
    let text = text.replace("# token_jwks =", "token_jwks =").replace("# memory =", "memory =");
    let text = text.replace("# admin_token_file =", "admin_token_file =");
    let read = file(&text.replace("# token_issuer =", "token_issuer =")).expect("no mistakes");
    assert_eq!(read.cert, Some(PathBuf::from("/etc/cert.pem")));
    assert_eq!(read.token_jwks.as_deref(), Some("https://id.example.org/jwks.json"));
    for setting in &SETTINGS {
        let given = !matches!(read.origin(setting.path), Origin::Default);
        assert!(given, "{} is not in the file", setting.path);
        assert!(text.contains(setting.variable), "{}", setting.variable);
    }
    assert!(text.lines().all(|line| line.chars().count() <= 100));
}

#[test]
fn every_setting_can_be_given_by_its_variable_and_by_set() {
    for setting in &SETTINGS {
        let value = match setting.place.shown(&Config::default()) {
            Some(value) => value.trim_matches(['"', '[', ']']).to_owned(),
            None => "some.pem".to_owned(),
        };
        let value = match setting.place {
            Place::Networks(_) => "10.0.0.0/8".to_owned(),
            Place::Url(_) => "https://id.example/jwks.json".to_owned(),
            Place::Memory(_) => "512MiB".to_owned(),
            _ if value.is_empty() => "chat.example".to_owned(),
            _ => value,
        };
        let mut environment = vec![(setting.variable, &*value)];
        // The two are of no use alone.
        if [table::CERT, table::KEY].contains(&setting.path) {
            environment = vec![("DAMSO_CERT", "some.pem"), ("DAMSO_KEY", "some.pem")];
        }
        if setting.path == table::TOKEN_ISSUER {
            environment.push(("DAMSO_TOKEN_KEY", "some.pem"));
        }
        let config = read(&[], &environment).expect("a good variable");
        let origin = Origin::Variable(setting.variable.to_owned());
        assert_eq!(config.origin(setting.path), origin, "{}", setting.path);
        let set = format!("{}={value}", setting.path);
        let config = read(&["--set", &set], &environment).expect("a good --set");
        assert_eq!(config.origin(setting.path), Origin::Flag("--set".to_owned()), "{set}");
    }
}

#[test]
fn what_is_in_force_is_shown_with_its_origin_and_is_a_file_itself() {
    let config = read(&["--listen", "[::1]:1"], &[("DAMSO_NAME", "a.example, b.example")]);
    let config = config.expect("a good configuration");
    let shown = effective(&config);
    let line = |start: &str| shown.lines().find(|line| line.starts_with(start)).unwrap_or_default();
    assert!(line("chat = \"[::1]:1\"").ends_with("# --listen"), "{shown}");
    assert!(line("names = [\"a.example\", \"b.example\"]").ends_with("# DAMSO_NAME"), "{shown}");
    assert!(line("admin").ends_with("# default"), "{shown}");
    let mut reading = Reading::default();
    file::apply(Path::new("damso.toml"), &shown, &mut reading);
    let read = reading.finish(false).expect("no mistakes");
    assert_eq!(Config { origins: config.origins.clone(), ..read }, config);
}

#[test]
fn a_path_in_a_file_begins_at_the_file() {
    let text = "[data]\ndir = \"d\"\n[auth]\ntoken_keys = [\"/k.pem\", \"k.pem\"]\n";
    let config = file(text).expect("a good file");
    assert_eq!(config.data, Path::new("/etc/d"));
    assert_eq!(config.token_keys, [Path::new("/k.pem"), Path::new("/etc/k.pem")]);
    let flags = ["--data", "d", "--token-key", "1.pem", "--token-key", "2.pem"];
    let config = read(&flags, &[]).expect("good flags");
    assert_eq!(config.data, Path::new("d"));
    assert_eq!(config.token_keys, [Path::new("1.pem"), Path::new("2.pem")]);
}

#[test]
fn nothing_and_part_of_it_is_a_good_file() {
    for text in ["", "# nothing\n", "[limits]\n", "\u{feff}[listen]\nchat = \"[::]:7443\"\r\n"] {
        assert!(file(text).is_ok(), "{text:?}");
    }
    let config = file("listen.chat = \"0.0.0.0:1\"\nlimits = { page_rows = 0x10 }").expect("TOML");
    let chat: SocketAddr = "0.0.0.0:1".parse().unwrap();
    assert_eq!((config.chat, config.limits.page_rows), (chat, 16));
}

#[test]
fn a_variable_of_somebody_else_is_left_alone_and_a_misspelt_one_is_not() {
    let others = [
        "DAMSO_LOG",
        "DAMSO_PORT",
        "DAMSO_PORT_7443_TCP_ADDR",
        "DAMSO_SERVICE_HOST",
        "DAMSO_SERVICE_PORT",
        "DAMSO_SIM_SEED",
        "DAMSO_SIM_TELL",
        "DAMSO_SIM_ROUNDS",
        "DAMSO_CRASH_CYCLES",
        "DAMSO_POWER_CYCLES",
        crate::store::forgetful::VARIABLE,
        crate::store::fjall::Sync::SKIP_VARIABLE,
    ];
    assert!(read(&[], &others.map(|name| (name, "tcp://10.0.0.1"))).is_ok());
    for name in ["DAMSO_LISTN", "DAMSO_TOKENKEY", "DAMSO_LIMITS_PAGE_ROW", "DAMSO_CONFG"] {
        assert_eq!(told(read(&[], &[(name, "x")])), [(name.to_owned(), String::new())]);
    }
}

#[test]
fn each_relation_is_told_where_one_of_its_values_was_given() {
    let cases = [
        (Relation::FirstMembersFit, "members_per_command = 100\ngroup_members = 100"),
        (Relation::FirstMembersFit, "\ngroup_members = 100"),
        (Relation::ResumeHoldsAPage, "\npage_bytes = \"1MiB\""),
        (Relation::NobodyFillsAChannel, "sends_per_user = \"200/s burst 200\""),
        (Relation::HandshakeWithinLogin, "handshake_time = \"10s\""),
        (Relation::ChannelLogFits, "channel_log_bytes = \"64MiB\"\nshard_log_bytes = \"1MiB\""),
    ];
    for (relation, text) in cases {
        let text = format!("[limits]\n{text}");
        let line = if text.contains("\n\n") { "3" } else { "2" };
        let told = told(file(&text));
        assert_eq!(told.len(), 1, "{relation:?}: {told:?}");
        assert_eq!(told[0].0, line, "{relation:?}");
    }
    let silent = told(file("[heartbeat]\nprobe_after = \"60s\"\nidle_limit = \"119s\""));
    assert_eq!(silent, [("3".to_owned(), "heartbeat.idle_limit".to_owned())]);
    assert!(file("[heartbeat]\nprobe_after = \"60s\"\nidle_limit = \"120s\"").is_ok());
}

#[test]
fn what_is_asked_of_tokens_is_no_use_with_the_built_in_issuer() {
    let of = |key: &str| format!("auth.token_{key}");
    for (text, wrong) in [
        ("token_audience = \"damso\"", vec![]),
        ("token_audience = \"chat\"", vec!["audience"]),
        ("token_issuer = \"https://id\"\ntoken_audience = \"chat\"", vec!["issuer", "audience"]),
        ("token_issuer = \"https://id\"\ntoken_keys = [\"k.pem\"]", vec![]),
        ("token_issuer = \"https://id\"\ntoken_jwks = \"https://id/k\"", vec![]),
        // Somebody was named, if not well.
        ("token_issuer = \"https://id\"\ntoken_jwks = \"http://id/k\"", vec!["jwks"]),
        ("token_issuer = \"https://id\"\ntoken_jwks = 5", vec!["jwks"]),
        ("token_issuer = \"https://id\"\ntoken_keys = \"k.pem\"", vec!["keys"]),
        ("token_audience = \"\"", vec!["audience"]),
    ] {
        let read = file(&format!("[auth]\n{text}"));
        let told: Vec<_> = match read {
            Ok(_) => Vec::new(),
            wrong => told(wrong).into_iter().map(|(_, subject)| subject).collect(),
        };
        assert_eq!(told, wrong.into_iter().map(of).collect::<Vec<_>>(), "{text}");
    }
}

#[test]
fn what_rests_on_a_wrong_value_is_not_told_as_well() {
    // 2 s would be too short for the handshake, if it were a value.
    let text = "[limits]\nlogin_time = \"2 sec\"\nhandshake_time = \"11s\"";
    assert_eq!(told(file(text)), [("2".to_owned(), "limits.login_time".to_owned())]);
}

#[test]
fn a_wrong_value_is_told_even_where_another_goes_before_it() {
    let told = told(read(&["--shards", "1"], &[("DAMSO_SHARDS", "many")]));
    assert_eq!(told, [("DAMSO_SHARDS".to_owned(), "server.shards".to_owned())]);
}

#[test]
fn a_configuration_made_by_hand_is_checked_as_well() {
    let good = Config { data: "/tmp".into(), ..Config::default() };
    assert_eq!(good.check(), Ok(()));
    let limits = Limits { page_rows: 0, ..Limits::DEFAULT };
    let mistakes = Config { limits, token_keys: vec!["/nothing".into()], ..good }.check();
    let told = told(mistakes.map(|()| Config::default()));
    let expected = ["limits.page_rows", TOKEN_KEYS].map(|path| ("default".into(), path.into()));
    assert_eq!(told, expected);
}

#[test]
fn two_listeners_never_share_a_port() {
    for (chat, admin, meet) in [
        ("127.0.0.1:9464", "127.0.0.1:9464", true),
        ("0.0.0.0:9464", "127.0.0.1:9464", true),
        ("[::]:9464", "[::1]:9464", true),
        ("127.0.0.1:0", "127.0.0.1:0", false),
        ("10.0.0.1:9464", "127.0.0.1:9464", false),
        ("127.0.0.1:7443", "127.0.0.1:9464", false),
    ] {
        let read = read(&["--listen", chat, "--admin", admin], &[]);
        assert_eq!(read.is_err(), meet, "{chat} {admin}");
    }
}

proptest! {
    #[test]
    fn any_file_is_read_or_its_mistakes_have_lines_of_it(
        lines in prop::collection::vec(
            prop_oneof![
                "\\[[a-z.]{0,8}\\]?",
                "[a-z_]{0,12} ?=? ?[\"'\\[{]?[0-9a-zA-Z:./ ]{0,12}[\"'\\]}]?",
                Just("[limits]".to_owned()),
                Just("page_rows = -1".to_owned()),
                Just("[heartbeat]\nprobe_after = \"\\u0000\"".to_owned()),
                ".*",
            ],
            0..12,
        ),
    ) {
        let text = lines.join("\n");
        if let Err(mistakes) = file(&text) {
            for mistake in mistakes.each() {
                if let Origin::File { line, .. } = mistake.origin() {
                    prop_assert!((1..=text.lines().count().max(1) + 1).contains(line), "{mistake}");
                }
            }
        }
    }
}
