//! The binary and its configuration: mistakes are told whole and with their line before anything
//! is served or written, and what is set is what clients meet.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use damso::model::limits;
use damso_proto::address::ConnectionString;
use damso_proto::code::CloseCode;
use damso_proto::wire;
use damso_proto::wire::client_frame::Kind as Ask;
use damso_proto::wire::server_frame::Kind as Said;
use tempfile::TempDir;

use super::process::{Process, clean};
use super::raw::{Raw, encode, frame, hello, plain, text};

/// A directory with a configuration and what it names.
struct Place(TempDir);

impl Place {
    /// With two certificates and their keys, and a token key.
    fn new() -> Self {
        let place = Self(TempDir::new().expect("a temporary directory"));
        for name in ["a", "b"] {
            let made = rcgen::generate_simple_self_signed(vec!["chat.example".to_owned()]);
            let made = made.expect("a certificate");
            place.write(&format!("{name}.pem"), &made.cert.pem());
            place.write(&format!("{name}-key.pem"), &made.signing_key.serialize_pem());
        }
        let issuer = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("a key");
        place.write("issuer.pem", &issuer.public_key_pem());
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("a file");
    }

    fn binary(&self) -> Command {
        let mut command = clean();
        command.current_dir(self.0.path());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.binary().args(arguments).output().expect("the binary runs")
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("text")
}

/// `told` has a mistake at this line of the file, with all of these words, advice included.
fn check(told: &str, line: usize, words: &[&str]) {
    let start = format!("damso.toml:{line}: ");
    let at = told.find(&start).unwrap_or_else(|| panic!("no `{start}` in\n{told}"));
    let mistake: Vec<_> = told[at..].lines().collect();
    let end = mistake.iter().skip(1).position(|line| !line.starts_with("    "));
    let mistake = mistake[..end.map_or(mistake.len(), |end| end + 1)].join("\n");
    assert!(mistake.lines().count() > 1, "nothing says what to do: {mistake}");
    for word in words {
        assert!(mistake.contains(word), "`{word}` is not in: {mistake}");
    }
}

/// A file, line by line, and words that the message of each mistake must have.
const MISTAKES: [(&str, &[&str]); 36] = [
    ("lissen.chat = \"127.0.0.1:1\"", &["[lissen]", "[listen]"]),
    ("tls = \"cert.pem\"", &["a section", "[tls]", "names"]),
    ("probe_after = \"1s\"", &["outside of a section", "[heartbeat]"]),
    ("[listen]", &[]),
    ("chat = localhost:7443", &["no TOML", "chat = \"localhost:7443\""]),
    ("admin = \"localhost:9464\"", &["listen.admin", "\"localhost:9464\"", "127.0.0.1:7443"]),
    ("[data]", &[]),
    ("dir = \"damso.toml\"", &["data.dir", "is a file, not a directory"]),
    ("[auth]", &[]),
    (
        "token_keys = [\"a-key.pem\", \"issuer.pem\"]",
        &["auth.token_keys", "a-key.pem", "Ed25519", "openssl"],
    ),
    ("token_jwks = \"http://id.example/keys\"", &["\"http://id.example/keys\"", "https"]),
    ("token_key = \"issuer.pem\"", &["there is no such key", "did you mean token_keys?"]),
    ("provision = \"maybe\"", &["\"maybe\"", "\"auto\" or \"strict\""]),
    ("[server]", &[]),
    ("shards = 33", &["33", "0 to 32"]),
    ("conections = 5", &["there is no such key", "did you mean connections?"]),
    ("[heartbeat]", &[]),
    ("probe_after = \"90s\"", &[]),
    ("idle_limit = \"2m\"", &["\"120s\"", "twice heartbeat.probe_after", "\"90s\"", ":18)"]),
    ("probe_after = \"80s\"", &["twice", "keep one of the two"]),
    ("[limits]", &[]),
    ("group_members = \"many\"", &["\"many\"", "whole number"]),
    ("page_rows = -5", &["-5", "whole number"]),
    ("page_bytes = \"64KB\"", &["\"64KB\"", "KiB"]),
    ("resume_bytes = 65536", &["unit is missing", "\"65536B\""]),
    ("stalled_time = 30", &["unit is missing", "\"30s\""]),
    ("login_time = \"ten seconds\"", &["\"ten seconds\"", "like \"30s\""]),
    ("handshake_time = \"2 fortnights\"", &["like \"30s\""]),
    ("sends_per_channel = \"200\"", &["like \"20/s burst 60\""]),
    ("idle_limit = \"3m\"", &["it belongs below [heartbeat]"]),
    ("channels_per_user = 9_000", &["9000", "1 to 8192"]),
    ("connections_per_user = true", &["true", "whole number"]),
    ("members_per_command = 1.5", &["1.5", "whole number"]),
    ("page_rows = 7", &["twice"]),
    ("[lmits]", &["[lmits]", "did you mean [limits]?"]),
    ("page_rows = 5", &[]),
];

#[test]
fn all_mistakes_of_a_file_are_told_at_once_each_with_its_line_and_what_to_do() {
    let place = Place::new();
    let lines: Vec<_> = MISTAKES.iter().map(|(line, _)| *line).collect();
    place.write("damso.toml", &lines.join("\n"));
    let expected = MISTAKES.iter().filter(|(_, words)| !words.is_empty()).count();
    for arguments in [&["--config", "damso.toml"][..], &["config", "check", "damso.toml"]] {
        let output = place.run(arguments);
        let told = stderr(&output);
        println!("{told}");
        assert_eq!(output.status.code(), Some(1));
        assert!(output.stdout.is_empty(), "nothing is fine");
        assert!(told.contains(&format!("{expected} mistakes")), "{told}");
        for (number, (_, words)) in MISTAKES.iter().enumerate().filter(|(_, it)| !it.1.is_empty()) {
            check(&told, number + 1, words);
        }
        assert!(!told.contains('\u{1b}'), "plain text");
    }
    assert!(!place.path("damso-data").exists(), "nothing was made");
}

#[test]
fn what_does_not_fit_this_machine_is_told_with_its_line() {
    let holder = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let taken = holder.local_addr().expect("its address").to_string();
    let cases: [(String, usize, &[&str]); 12] = [
        ("[tls]\ncert = \"none.pem\"\nkey = \"a-key.pem\"".into(), 2, &["tls.cert", "none.pem"]),
        ("[tls]\ncert = \"a.pem\"\nkey = \"none.pem\"".into(), 3, &["tls.key", "none.pem"]),
        (
            "[tls]\nkey = \"b-key.pem\"\ncert = \"a.pem\"".into(),
            2,
            &["b-key.pem is not the key of", "a.pem"],
        ),
        ("[tls]\ncert = \"a-key.pem\"\nkey = \"a-key.pem\"".into(), 2, &["tls.cert", "PEM"]),
        ("[tls]\n\ncert = \"a.pem\"".into(), 3, &["tls.key", "not given"]),
        ("[auth]\ntoken_keys = [\"a.pem\"]".into(), 2, &["token key", "openssl"]),
        (
            "[auth]\ntoken_issuer = \"https://id.example\"".into(),
            2,
            &["auth.token_issuer", "no use without auth.token_keys", "auth.token_jwks"],
        ),
        (
            "[tls]\nnames = [\"ok.example\", \"https://chat.example\"]".into(),
            2,
            &["\"https://chat.example\" is no host name", "without port or scheme"],
        ),
        (
            format!("[listen]\nadmin = \"127.0.0.1:0\"\nchat = \"{taken}\""),
            3,
            &["is taken", &taken, "--listen", "DAMSO_LISTEN"],
        ),
        (
            "[listen]\nchat = \"127.0.0.1:9\"\nadmin = \"127.0.0.1:9\"".into(),
            3,
            &["is the same address as listen.chat", ":2)", "different ports"],
        ),
        ("[limits]\nmemory = \"100MiB\"".into(), 2, &["for the stores alone", "384MiB or more"]),
        ("[limits]\nmemory = \"9000000GiB\"".into(), 2, &["is more than the", "leave it out"]),
    ];
    for (text, line, words) in cases {
        let place = Place::new();
        place.write("damso.toml", &text);
        for arguments in [&["--config", "damso.toml"][..], &["config", "check", "damso.toml"]] {
            let output = place.run(arguments);
            let told = stderr(&output);
            println!("{told}");
            assert_eq!(output.status.code(), Some(1), "{told}");
            assert!(told.contains("1 mistake in"), "{told}");
            check(&told, line, words);
        }
        assert!(!place.path("damso-data").exists(), "nothing was made");
    }
}

#[test]
fn a_good_file_is_fine_and_the_printed_one_is_good() {
    let place = Place::new();
    let printed = place.run(&["config", "default"]);
    assert!(printed.status.success() && printed.stderr.is_empty());
    let printed = String::from_utf8(printed.stdout).expect("text");
    let printed = printed
        .replace("127.0.0.1:7443", "127.0.0.1:0")
        .replace("127.0.0.1:9464", "127.0.0.1:0")
        .replace("127.0.0.1:7480", "127.0.0.1:0")
        .replace("# cert = \"cert.pem\"", "cert = \"a.pem\"")
        .replace("# key = \"key.pem\"", "key = \"a-key.pem\"")
        .replace("token_keys = []", "token_keys = [\"issuer.pem\"]")
        .replace("# token_issuer =", "token_issuer =");
    place.write("damso.toml", &printed);
    let checked = place.run(&["config", "check", "damso.toml"]);
    let said = String::from_utf8(checked.stdout.clone()).expect("text");
    assert!(checked.status.success() && checked.stderr.is_empty(), "{checked:?}");
    assert!(said.starts_with("damso.toml is fine\n"), "{said}");
    for name in ["certificate", "token keys", "data directory", "memory", "ports"] {
        assert!(said.contains(name), "{name} was not looked at: {said}");
    }
    assert!(!place.path("damso-data").exists(), "checking makes nothing");
}

#[test]
fn a_port_that_a_running_server_has_is_not_asked_for_on_demand() {
    let holder = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let taken = holder.local_addr().expect("its address").to_string();
    let place = Place::new();
    let check =
        ["config", "check", "--listen", &taken, "--admin", "127.0.0.1:0", "--api", "127.0.0.1:0"];
    let asked = place.run(&check);
    assert_eq!(asked.status.code(), Some(1));
    let told = stderr(&asked);
    assert!(told.starts_with("--listen: listen.chat: "), "{told}");
    let unasked = place.run(&[&check[..], &["--no-ports"]].concat());
    assert!(unasked.status.success() && unasked.stderr.is_empty(), "{unasked:?}");
    assert!(String::from_utf8_lossy(&unasked.stdout).starts_with("the configuration is fine"));
}

#[test]
fn a_mistake_of_the_environment_names_its_variable() {
    let place = Place::new();
    for (name, value, words) in [
        ("DAMSO_ADMIN", "0.0.0.0:9464", &["DAMSO_ADMIN: listen.admin: ", "no password"][..]),
        ("DAMSO_ADMIN_TOKEN_FILE", "none", &["listen.admin_token_file: ", "cannot read none"]),
        ("DAMSO_ALTERNATES", "chat2:7443,x:y", &["server.alternates: ", "\"x:y\" is not HOST"]),
        ("DAMSO_CONFIG", "none.toml", &["DAMSO_CONFIG: cannot read none.toml"]),
        ("DAMSO_TOKEN_KEY", "none.pem", &["DAMSO_TOKEN_KEY: auth.token_keys: ", "none.pem"]),
        ("DAMSO_LIMITS_PAGE_ROWS", "0", &["DAMSO_LIMITS_PAGE_ROWS: ", "1 to 1000"]),
    ] {
        let output = place.binary().env(name, value).output().expect("the binary runs");
        let told = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{told}");
        for word in words {
            assert!(told.contains(word), "`{word}` is not in {told}");
        }
    }
    assert!(!place.path("damso-data").exists(), "nothing was made");
}

#[test]
fn what_is_in_force_is_shown_with_where_it_came_from() {
    let place = Place::new();
    place.write("damso.toml", "[limits]\npage_rows = 50\npage_bytes = \"128KiB\"\n");
    let mut show = place.binary();
    show.args(["--config", "damso.toml", "config", "show", "--shards", "2"]);
    show.env("DAMSO_LIMITS_PAGE_ROWS", "60").env("DAMSO_SHARDS", "3");
    let shown = String::from_utf8(show.output().expect("the binary runs").stdout).expect("text");
    for (value, origin) in [
        ("page_rows = 60 ", "# DAMSO_LIMITS_PAGE_ROWS"),
        ("page_bytes = \"128KiB\" ", "# damso.toml:3"),
        ("shards = 2 ", "# --shards"),
        ("chat = \"127.0.0.1:7443\" ", "# default"),
    ] {
        let line = shown.lines().find(|line| line.starts_with(value));
        assert!(line.is_some_and(|line| line.ends_with(origin)), "{value} in\n{shown}");
    }
}

/// A server whose file sets limits.
fn limited(limits: &str) -> Process {
    let directory = TempDir::new().expect("a temporary directory");
    let path = directory.path().join("damso.toml");
    fs::write(&path, limits).expect("a file");
    let path = path.to_str().expect("a path of text").to_owned();
    Process::start_on(directory, "info", &["--shards", "1", "--config", &path])
}

fn made(raw: &mut Raw, others: &[&str]) -> Said {
    let uids = others.iter().map(|uid| (*uid).to_owned()).collect();
    raw.ask(Ask::CreateChannel(wire::CreateChannel {
        name: "g".to_owned(),
        uids,
        ..Default::default()
    }))
    .0
}

#[test]
fn a_client_is_told_the_limits_that_are_set_and_meets_them() {
    let server = limited(
        "[heartbeat]\nprobe_after = \"7s\"\nidle_limit = \"14s\"\n[limits]\nchannels_per_user = 2\n\
         group_members = 3\nmembers_per_command = 1\nconnections_per_user = 1\npage_rows = 4\n\
         page_bytes = \"64KiB\"\nsends_per_user = \"20/s burst 1000\"\n",
    );
    let (mut bob, _) = Raw::log_in(&server.string("bob"), "b", Default::default());
    let string = server.string("alice");
    let (mut alice, heard) = Raw::log_in(&string, "a", Default::default());
    let Some(Said::Welcome(welcome)) = heard.first() else { panic!("no Welcome in {heard:?}") };
    let told = welcome.limits.expect("limits");
    assert_eq!((welcome.heartbeat_ms, welcome.idle_limit_ms), (7_000, 14_000));
    assert_eq!((told.channels_per_user, told.group_members), (2, 3));
    assert_eq!((told.page_rows, told.page_bytes), (4, 64 * 1024));

    let Said::Refusal(refusal) = made(&mut alice, &["bob", "carol"]) else { panic!("two others") };
    assert_eq!(refusal.field, "uids");
    let Said::Channel(group) = made(&mut alice, &["bob"]) else { panic!("one other") };
    for number in 0..9 {
        let sent = alice.ask(text(group.channel, &number.to_string())).0;
        assert!(matches!(sent, Said::Ack(_)), "{sent:?}");
    }
    let ask = wire::ReadHistory { channel: group.channel, rows: 50, ..Default::default() };
    let pages = alice.pages(Ask::ReadHistory(ask));
    assert_eq!(pages.iter().map(|page| page.rows.len()).sum::<usize>(), 4);
    assert!(matches!(made(&mut alice, &[]), Said::Channel(_)));
    assert!(matches!(made(&mut alice, &[]), Said::Refusal(_)), "a third channel");
    bob.fence().expect("bob is here");

    let parsed: ConnectionString = string.parse().expect("a connection string");
    let mut second = Raw::connect(&parsed).expect("a connection");
    let mut flight = encode(&frame(Ask::Hello(hello(&parsed, "c"))));
    let resume = wire::Resume { last: true, ..Default::default() };
    flight.extend(encode(&frame(Ask::Resume(resume))));
    second.write(&flight).expect("the login flight");
    assert_eq!(second.closing(), Some(CloseCode::TooManyConnections));
}

#[test]
fn who_says_nothing_is_cut_when_the_settings_say() {
    let server = limited("[limits]\nhandshake_time = \"1s\"\nlogin_time = \"2s\"\n");
    let string: ConnectionString = server.string("alice").parse().expect("a connection string");
    let begun = Instant::now();
    let mut silent = plain(&string).expect("a connection");
    let mut late = Raw::connect(&string).expect("a connection");
    late.write(&[0]).expect("a keep-alive after the handshake");
    let end = std::io::Read::read_to_end(&mut silent, &mut Vec::new());
    assert!(end.is_ok(), "{end:?}");
    let handshake = begun.elapsed();
    assert_eq!(late.closing(), Some(CloseCode::LoginLate));
    let login = begun.elapsed();
    let (one, two) = (Duration::from_secs(1), Duration::from_secs(2));
    assert!(handshake >= one && handshake < limits::HANDSHAKE_TIME_MAX, "{handshake:?}");
    assert!(login >= two && login < limits::LOGIN_TIME_MAX, "{login:?}");
}

#[test]
fn a_lowered_limit_takes_no_channel_from_anybody() {
    let server = Process::start(&["--shards", "1"]);
    let (mut alice, _) = Raw::log_in(&server.string("alice"), "a", Default::default());
    for _ in 0..3 {
        assert!(matches!(made(&mut alice, &[]), Said::Channel(_)));
    }
    server.terminate();
    drop(alice.rest());
    let (_, _, directory) = server.wait();
    let lowered = &["--shards", "1", "--set", "limits.channels_per_user=1"];
    let server = Process::start_on(directory, "info", lowered);
    let (mut alice, heard) = Raw::log_in(&server.string("alice"), "a", Default::default());
    let Some(Said::Resumed(resumed)) = heard.last() else { panic!("no Resumed in {heard:?}") };
    assert_eq!(resumed.channels, 3);
    assert!(matches!(made(&mut alice, &[]), Said::Refusal(_)), "a fourth");
}

#[test]
fn clients_come_back_within_the_time_that_is_set() {
    let server = Process::start(&["--shards", "1", "--set", "server.drain_spread=300ms"]);
    let mut people: Vec<_> = (0..8)
        .map(|n| Raw::log_in(&server.string(&format!("p{n}")), "d", Default::default()).0)
        .collect();
    server.terminate();
    for raw in &mut people {
        let last = raw.rest().pop().and_then(|frame| frame.kind);
        let Some(Said::Closing(closing)) = last else { panic!("no Closing but {last:?}") };
        assert!(closing.retry_after_ms <= 300, "{closing:?}");
    }
    assert!(server.wait().0.success());
}

#[test]
fn a_directory_beside_the_file_is_the_servers_whatever_it_was_started_in() {
    let place = Place::new();
    fs::create_dir(place.path("etc")).expect("a directory");
    place.write("etc/damso.toml", "[data]\ndir = \"kept\"\n");
    let token = place.run(&["token", "--user", "alice", "--config", "etc/damso.toml"]);
    assert!(!token.status.success(), "nothing is kept there yet");
    let told = stderr(&token);
    let there = Path::new("etc").join("kept");
    assert!(told.contains(there.to_str().expect("text")), "{told}");
}
