//! Every setting: a row each, in the order in which files have them. Flags, variables, the
//! annotated file and all checks of single values are made from this.

use std::time::Duration;

use super::mistake::Mistake;
use super::origin::Path;
use super::place::Place;
use super::settings::Config;
use crate::model::limits;
use crate::runtime::placement::Shards;

/// A section of a file.
pub(super) struct Section {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
}

/// One setting.
pub(super) struct Setting {
    /// `section.key`.
    pub(super) path: Path,
    /// Its own flag, without the dashes. Without one, it goes by `--set`.
    pub(super) flag: Option<&'static str>,
    /// Its variable in the environment.
    pub(super) variable: &'static str,
    /// What it does, in a sentence or two.
    pub(super) about: &'static str,
    /// Where its value stands.
    pub(super) place: Place,
}

pub(super) const CHAT: Path = "listen.chat";
pub(super) const ADMIN: Path = "listen.admin";
pub(super) const ADMIN_TOKEN: Path = "listen.admin_token_file";
pub(super) const API: Path = "listen.api";
pub(super) const CERT: Path = "tls.cert";
pub(super) const KEY: Path = "tls.key";
pub(super) const NAMES: Path = "tls.names";
pub(super) const DATA: Path = "data.dir";
pub(super) const ALTERNATES: Path = "server.alternates";
pub(super) const MEMORY: Path = "limits.memory";
pub(super) const TOKEN_KEYS: Path = "auth.token_keys";
pub(super) const TOKEN_JWKS: Path = "auth.token_jwks";
pub(super) const TOKEN_AUDIENCE: Path = "auth.token_audience";
pub(super) const TOKEN_ISSUER: Path = "auth.token_issuer";

/// The sections of a file.
pub(super) const SECTIONS: [Section; 7] = [
    Section { name: "listen", about: "Addresses that are served, each an IP and a port." },
    Section { name: "tls", about: "What the server proves itself with." },
    Section { name: "data", about: "Where everything is kept." },
    Section { name: "auth", about: "Who may log in." },
    Section { name: "server", about: "How much of the machine is used." },
    Section { name: "heartbeat", about: "Silence, and how long it may last. Clients are told." },
    Section {
        name: "limits",
        about: "What one person, channel or connection may take. Clients are told what concerns \
                them when they log in.",
    },
];

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

const fn setting(
    path: Path,
    flag: Option<&'static str>,
    variable: &'static str,
    place: Place,
    about: &'static str,
) -> Setting {
    Setting { path, flag, variable, about, place }
}

/// Every setting.
pub(super) static SETTINGS: [Setting; 40] = [
    setting(
        CHAT,
        Some("listen"),
        "DAMSO_LISTEN",
        Place::Address(|c| &mut c.chat),
        "Where chat clients connect (TLS); 0.0.0.0 is every interface. Port 0 takes a free one.",
    ),
    setting(
        ADMIN,
        Some("admin"),
        "DAMSO_ADMIN",
        Place::Address(|c| &mut c.admin),
        "The admin port: metrics, health and what an operator does, plain HTTP. Elsewhere than on \
         loopback it needs admin_token_file.",
    ),
    setting(
        ADMIN_TOKEN,
        Some("admin-token-file"),
        "DAMSO_ADMIN_TOKEN_FILE",
        Place::File(|c| &mut c.admin_token_file),
        "A file with the admin port's password, 32 characters or more: everybody who asks there \
         needs it (Authorization: Bearer), but probes of /healthz and /readyz. Keep it on a \
         network that you trust: it is plain HTTP.",
    ),
    setting(
        API,
        Some("api"),
        "DAMSO_API",
        Place::Address(|c| &mut c.api),
        "The HTTP API for backends (TLS), each with a key of its own (`damso key create`).",
    ),
    setting(
        "listen.trusted_proxies",
        Some("trusted-proxies"),
        "DAMSO_TRUSTED_PROXIES",
        Place::Networks(|c| &mut c.trusted_proxies),
        "Networks of load balancers that speak the PROXY protocol (version 2). Connections from \
         there must begin with its header, and count for the address that it names.",
    ),
    setting(
        CERT,
        Some("cert"),
        "DAMSO_CERT",
        Place::File(|c| &mut c.cert),
        "Certificate chain (PEM), the server's own first; read again when it or the key changes, \
         and at SIGHUP. Without it the server makes a development CA of its own.",
    ),
    setting(
        KEY,
        Some("key"),
        "DAMSO_KEY",
        Place::File(|c| &mut c.key),
        "Private key of the certificate (PEM).",
    ),
    setting(
        NAMES,
        Some("name"),
        "DAMSO_NAME",
        Place::Names(|c| &mut c.names),
        "Further host names of the development certificate; the first one stands in connection \
         strings of a server that listens on every interface.",
    ),
    setting(
        DATA,
        Some("data"),
        "DAMSO_DATA",
        Place::Directory(|c| &mut c.data),
        "Directory of everything that is kept. Made if absent.",
    ),
    setting(
        TOKEN_KEYS,
        Some("token-key"),
        "DAMSO_TOKEN_KEY",
        Place::Files(|c| &mut c.token_keys),
        "Public keys of whoever issues tokens: files, each with one key (PEM: Ed25519, P-256 or \
         RSA) or a JWKS. Without them and token_jwks the server issues tokens itself (`damso \
         token`).",
    ),
    setting(
        TOKEN_JWKS,
        Some("token-jwks"),
        "DAMSO_TOKEN_JWKS",
        Place::Url(|c| &mut c.token_jwks),
        "Where an issuer publishes its keys (JWKS): https, or http on this machine. Fetched at the \
         start, every 10 minutes, and when a token names an unknown key.",
    ),
    setting(
        TOKEN_AUDIENCE,
        Some("token-audience"),
        "DAMSO_TOKEN_AUDIENCE",
        Place::Text(|c| &mut c.token_audience),
        "What the tokens' `aud` must hold. Of use with token_keys or token_jwks.",
    ),
    setting(
        TOKEN_ISSUER,
        Some("token-issuer"),
        "DAMSO_TOKEN_ISSUER",
        Place::Issuer(|c| &mut c.token_issuer),
        "What the tokens' `iss` must be; without it, anything. Of use with token_keys or \
         token_jwks.",
    ),
    setting(
        "auth.provision",
        Some("provision"),
        "DAMSO_PROVISION",
        Place::Provision(|c| &mut c.provision),
        "Whether a valid token of an unknown person makes the person: \"auto\", or \"strict\": no.",
    ),
    setting(
        "server.shards",
        Some("shards"),
        "DAMSO_SHARDS",
        Place::Count(|c| &mut c.shards, 0..=Shards::MAX as usize),
        "Worker threads; 0 = one per core.",
    ),
    setting(
        "server.connections",
        Some("connections"),
        "DAMSO_CONNECTIONS",
        Place::Count(|c| &mut c.connections, 0..=usize::MAX),
        "Most connections at a time; 0 = what the descriptor limit allows.",
    ),
    setting(
        ALTERNATES,
        Some("alternate"),
        "DAMSO_ALTERNATES",
        Place::Names(|c| &mut c.alternates),
        "Further addresses of this service, HOST:PORT, at most 8: clients are told them when they \
         log in, and try them when this one does not answer; each is sent to one of them when \
         this server stops.",
    ),
    setting(
        "server.drain_spread",
        None,
        "DAMSO_DRAIN_SPREAD",
        Place::Time(|c| &mut c.limits.drain_spread, secs(0)..=secs(3_600)),
        "When the server stops, each client is told to come back after a time of its own within \
         this, so that they do not come all at once.",
    ),
    setting(
        "server.shutdown_time",
        None,
        "DAMSO_SHUTDOWN_TIME",
        Place::Time(|c| &mut c.limits.shutdown_time, limits::SHUTDOWN_TIME_FLOOR..=secs(600)),
        "From SIGTERM to exit: a fifth to commit and answer what is on its way, two fifths to \
         write the last frames, the rest to close the stores. Keep it below the time after which \
         your supervisor kills (systemd 90 s, Kubernetes 30 s, Docker 10 s).",
    ),
    setting(
        "heartbeat.probe_after",
        Some("probe-after"),
        "DAMSO_PROBE_AFTER",
        Place::Time(|c| &mut c.limits.probe_after, secs(1)..=secs(3_600)),
        "Ask a silent client whether it is there after so long.",
    ),
    setting(
        "heartbeat.idle_limit",
        Some("idle-limit"),
        "DAMSO_IDLE_LIMIT",
        Place::Time(|c| &mut c.limits.idle_limit, secs(2)..=secs(24 * 3_600)),
        "Close a connection of which nothing was heard for so long. At least twice probe_after.",
    ),
    setting(
        MEMORY,
        Some("memory"),
        "DAMSO_LIMITS_MEMORY",
        Place::Memory(|c| &mut c.memory),
        "Memory that the process may take. At 80 % nobody new comes in, at 90 % readers who lag \
         are sent to history, at 95 % new messages are refused. Without it, 60 % of the machine's, \
         or what a container may take less 512 MiB, if that is less.",
    ),
    setting(
        "limits.channels_per_user",
        None,
        "DAMSO_LIMITS_CHANNELS_PER_USER",
        Place::Count(|c| &mut c.limits.channels_per_user, 1..=limits::CHANNELS_PER_USER_CEILING),
        "Most channels of a person. Lowered, nobody loses one; they get no new ones.",
    ),
    setting(
        "limits.connections_per_user",
        None,
        "DAMSO_LIMITS_CONNECTIONS_PER_USER",
        Place::Count(|c| &mut c.limits.connections_per_user, 1..=10_000),
        "Most connections of a person at a time.",
    ),
    setting(
        "limits.group_members",
        None,
        "DAMSO_LIMITS_GROUP_MEMBERS",
        Place::Count(|c| &mut c.limits.group_members, 2..=10_000),
        "Most members of a group. Above 1000 nothing has been measured: each change of members \
         is an event for every one of them.",
    ),
    setting(
        "limits.members_per_command",
        None,
        "DAMSO_LIMITS_MEMBERS_PER_COMMAND",
        Place::Count(|c| &mut c.limits.members_per_command, 1..=500),
        "Most people whom one command adds, when a channel is made (its maker not counted) or \
         later. Below group_members.",
    ),
    setting(
        "limits.broadcast_members",
        None,
        "DAMSO_LIMITS_BROADCAST_MEMBERS",
        Place::Count(|c| &mut c.limits.broadcast_members, 2..=10_000_000),
        "Most members of a broadcast. Of those who write there may be group_members.",
    ),
    setting(
        "limits.page_rows",
        None,
        "DAMSO_LIMITS_PAGE_ROWS",
        Place::Count(|c| &mut c.limits.page_rows, 1..=1_000),
        "Most messages on a page of history.",
    ),
    setting(
        "limits.page_bytes",
        None,
        "DAMSO_LIMITS_PAGE_BYTES",
        Place::Bytes(|c| &mut c.limits.page_bytes, limits::PAGE_BYTES_FLOOR..=4 << 20),
        "Most bytes of messages on a page of history.",
    ),
    setting(
        "limits.resume_bytes",
        None,
        "DAMSO_LIMITS_RESUME_BYTES",
        Place::Bytes(|c| &mut c.limits.resume_bytes, limits::PAGE_BYTES_FLOOR..=16 << 20),
        "Most bytes of missed messages that a device is sent when it comes back; it reads the \
         rest as history. At least page_bytes.",
    ),
    setting(
        "limits.sends_per_user",
        Some("sends-per-user"),
        "DAMSO_LIMITS_SENDS_PER_USER",
        Place::Rate(|c| &mut c.limits.sends_per_user),
        "How fast a person may send and change things, in messages: other changes cost several. \
         Below sends_per_channel, so that nobody fills one alone.",
    ),
    setting(
        "limits.reads_per_user",
        Some("reads-per-user"),
        "DAMSO_LIMITS_READS_PER_USER",
        Place::Rate(|c| &mut c.limits.reads_per_user),
        "How fast a person may read, in the same units: a page of history costs 4.",
    ),
    setting(
        "limits.sends_per_channel",
        Some("sends-per-channel"),
        "DAMSO_LIMITS_SENDS_PER_CHANNEL",
        Place::Rate(|c| &mut c.limits.sends_per_channel),
        "How fast all members of a channel together may send into it.",
    ),
    setting(
        "limits.handshake_time",
        None,
        "DAMSO_LIMITS_HANDSHAKE_TIME",
        Place::Time(|c| &mut c.limits.handshake_time, secs(1)..=secs(60)),
        "A TLS handshake must be over after so long. Below login_time.",
    ),
    setting(
        "limits.login_time",
        None,
        "DAMSO_LIMITS_LOGIN_TIME",
        Place::Time(|c| &mut c.limits.login_time, secs(2)..=secs(120)),
        "A connection must have logged in after so long, its handshake included.",
    ),
    setting(
        "limits.unauthenticated_share",
        None,
        "DAMSO_LIMITS_UNAUTHENTICATED_SHARE",
        Place::Count(|c| &mut c.limits.unauthenticated_share, 1..=1_000),
        "Of all connections, one in so many may be not yet logged in (on each shard); then the \
         oldest of those gives way.",
    ),
    setting(
        "limits.unauthenticated_address_share",
        None,
        "DAMSO_LIMITS_UNAUTHENTICATED_ADDRESS_SHARE",
        Place::Count(|c| &mut c.limits.unauthenticated_address_share, 1..=1_000),
        "Of those, one in so many may come from a single address. Loopback is exempt.",
    ),
    setting(
        "limits.stalled_time",
        None,
        "DAMSO_LIMITS_STALLED_TIME",
        Place::Time(|c| &mut c.limits.stalled_time, secs(1)..=secs(600)),
        "A connection whose socket took nothing for so long is cut. Its device comes back and \
         gets what it missed.",
    ),
    setting(
        "limits.channel_log_bytes",
        None,
        "DAMSO_LIMITS_CHANNEL_LOG_BYTES",
        Place::Bytes(|c| &mut c.limits.channel_log_bytes, 64 << 10..=64 << 20),
        "Unsent messages of one channel that a shard keeps in memory. A member who is further \
         behind reads history.",
    ),
    setting(
        "limits.shard_log_bytes",
        None,
        "DAMSO_LIMITS_SHARD_LOG_BYTES",
        Place::Bytes(|c| &mut c.limits.shard_log_bytes, 1 << 20..=16 << 30),
        "The same of all channels of a shard. At least channel_log_bytes.",
    ),
];

/// The setting of this name.
pub(super) fn find(path: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.path == path)
}

/// The settings of a section.
pub(super) fn of_section(section: &str) -> impl Iterator<Item = &'static Setting> {
    SETTINGS.iter().filter(move |setting| setting.section() == section)
}

/// Where else the value of a setting can be given.
pub(super) fn elsewhere(path: Path) -> String {
    find(path).map(Setting::elsewhere).unwrap_or_default()
}

impl Setting {
    /// The first half of its path.
    pub(super) fn section(&self) -> &'static str {
        self.path.split_once('.').map_or("", |(section, _)| section)
    }

    /// The second half of its path.
    pub(super) fn key(&self) -> &'static str {
        self.path.split_once('.').map_or("", |(_, key)| key)
    }

    /// What is wrong with its value taken alone.
    pub(super) fn misfit(&self, config: &Config) -> Option<Mistake> {
        let wrong = self.place.misfit(config)?;
        Some(Mistake::new(config.origin(self.path), self.path, wrong.what, wrong.advice))
    }

    /// Where else a value can be given than where it was.
    fn elsewhere(&self) -> String {
        let flag = match self.flag {
            Some(flag) => format!("--{flag} {}", self.place.value_name()),
            None => format!("--set {}=...", self.path),
        };
        format!("{flag}, {}=... or {} in a file", self.variable, self.path)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::model::limits::Limits;

    #[test]
    fn every_setting_has_a_section_and_names_of_its_own() {
        let sections: BTreeSet<_> = SECTIONS.iter().map(|section| section.name).collect();
        assert!(SETTINGS.iter().all(|setting| sections.contains(setting.section())));
        let paths: BTreeSet<_> = SETTINGS.iter().map(|setting| setting.path).collect();
        let variables: BTreeSet<_> = SETTINGS.iter().map(|setting| setting.variable).collect();
        let flags: Vec<_> = SETTINGS.iter().filter_map(|setting| setting.flag).collect();
        assert_eq!((paths.len(), variables.len()), (SETTINGS.len(), SETTINGS.len()));
        assert_eq!(flags.iter().collect::<BTreeSet<_>>().len(), flags.len());
        for path in [
            CHAT,
            ADMIN,
            ADMIN_TOKEN,
            API,
            CERT,
            KEY,
            NAMES,
            DATA,
            ALTERNATES,
            TOKEN_KEYS,
            TOKEN_JWKS,
        ] {
            assert!(find(path).is_some(), "{path}");
        }
    }

    #[test]
    fn every_default_lies_within_its_bounds() {
        for setting in &SETTINGS {
            assert_eq!(setting.misfit(&Config::default()), None, "{}", setting.path);
        }
        assert_eq!(Config::default().limits, Limits::DEFAULT);
    }
}
