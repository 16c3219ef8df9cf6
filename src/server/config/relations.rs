//! What must hold between two values.

use std::net::SocketAddr;

use damso_proto::address::is_authority;

use super::mistake::Mistake;
use super::origin::{Origin, Path};
use super::settings::Config;
use super::table::{
    self, ADMIN, ADMIN_TOKEN, ALTERNATES, API, CERT, CHAT, KEY, NAMES, TOKEN_AUDIENCE,
    TOKEN_ISSUER, TOKEN_JWKS, TOKEN_KEYS,
};
use crate::model::limits::{ALTERNATES_MAX, Relation};
use crate::transport::certificate;

/// Everything that does not hold. Told at the value that was given; a default is taken for right
/// when the other was not. Left out is what rests on a value that is not `sound`.
pub(super) fn check(config: &Config, sound: impl Fn(Path) -> bool) -> Vec<Mistake> {
    let limits = Relation::ALL.into_iter().filter(|relation| !config.limits.keep(*relation));
    let mut broken: Vec<_> = limits.map(told).collect();
    if config.cert.is_some() != config.key.is_some() {
        let (there, missing) = if config.cert.is_some() { (CERT, KEY) } else { (KEY, CERT) };
        let advice = format!("give {missing}, too, or neither for a development certificate");
        broken.push(Broken { of: [there, missing], must: "is no use without", advice });
    }
    for ((path, address), (other, taken)) in [
        ((ADMIN, config.admin), (CHAT, config.chat)),
        ((API, config.api), (CHAT, config.chat)),
        ((API, config.api), (ADMIN, config.admin)),
    ] {
        if meet(address, taken) {
            let advice = "give them different ports".to_owned();
            broken.push(Broken { of: [path, other], must: "is the same address as", advice });
        }
    }
    // What did not get into its place may have named one.
    if !config.is_issued_elsewhere() && sound(TOKEN_JWKS) {
        let whole = Config::default();
        let audience = (config.token_audience != whole.token_audience).then_some(TOKEN_AUDIENCE);
        let issuer = config.token_issuer.as_ref().map(|_| TOKEN_ISSUER);
        broken.extend(audience.into_iter().chain(issuer).map(|path| {
            let advice = format!(
                "name the keys of whoever issues your tokens there or in {TOKEN_JWKS}, or leave \
                 this out: the built-in issuer's tokens are for this server"
            );
            Broken { of: [path, TOKEN_KEYS], must: "is no use without", advice }
        }));
    }
    let sound_pair = |broken: &Broken| broken.of.iter().all(|path| sound(path));
    let pairs = broken.into_iter().filter(sound_pair).map(|broken| broken.mistake(config));
    pairs.chain(alone(config).filter(|(path, _)| sound(path)).map(|(_, told)| told)).collect()
}

/// What does not hold between two values.
struct Broken {
    of: [Path; 2],
    must: &'static str,
    advice: String,
}

fn told(relation: Relation) -> Broken {
    let (of, must, advice) = match relation {
        Relation::FirstMembersFit => (
            ["limits.members_per_command", "limits.group_members"],
            "must be below",
            "whoever makes the group is a member, too",
        ),
        Relation::ResumeHoldsAPage => (
            ["limits.resume_bytes", "limits.page_bytes"],
            "must be at least",
            "what fits on a page must fit into a resume",
        ),
        Relation::NobodyFillsAChannel => (
            ["limits.sends_per_user", "limits.sends_per_channel"],
            "must be slower than",
            "or a single person could keep all others from sending",
        ),
        Relation::HandshakeWithinLogin => (
            ["limits.handshake_time", "limits.login_time"],
            "must be below",
            "the handshake is a part of the login",
        ),
        Relation::ProbeBeforeClose => (
            ["heartbeat.idle_limit", "heartbeat.probe_after"],
            "must be at least twice",
            "or a client is given up before it can answer the probe",
        ),
        Relation::ChannelLogFits => (
            ["limits.channel_log_bytes", "limits.shard_log_bytes"],
            "must be at most",
            "a shard has room for one channel at least",
        ),
    };
    Broken { of, must, advice: format!("{advice}: change one of them") }
}

impl Broken {
    fn mistake(self, config: &Config) -> Mistake {
        let Self { of: [one, other], must, advice } = self;
        let value = |path| table::find(path).and_then(|setting| setting.place.shown(config));
        let shown = |path| value(path).unwrap_or_default();
        let (origin, beside) = (config.origin(one), config.origin(other));
        let is = match value(other) {
            Some(other) => format!("{other} ({beside})"),
            None => "not given".to_owned(),
        };
        let what = format!("{} {must} {other}, which is {is}", shown(one));
        match origin {
            // Nobody wrote the one: who wrote the other reads of it there.
            Origin::Default if beside != origin => {
                let what = format!(
                    "{} does not fit: {one} is {} (default), and {must} it",
                    shown(other),
                    shown(one)
                );
                Mistake::new(beside, other, what, advice)
            }
            _ => Mistake::new(origin, one, what, advice),
        }
    }
}

/// Whether one listener would take the other's port.
fn meet(one: SocketAddr, other: SocketAddr) -> bool {
    let all = one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() == other.port() && one.port() != 0 && (one.ip() == other.ip() || all)
}

/// What is wrong with a value for a reason beyond its form.
fn alone(config: &Config) -> impl Iterator<Item = (Path, Mistake)> {
    let open = !config.admin.ip().is_loopback() && config.admin_token_file.is_none();
    let open = open.then(|| {
        let what =
            format!("{} is not a loopback address, and the port has no password", config.admin);
        let advice = format!(
            "write \"127.0.0.1:{}\", or give it one: `head -c 32 /dev/urandom | base64 > \
             admin-token`, and {ADMIN_TOKEN} = \"admin-token\"",
            config.admin.port()
        );
        (ADMIN, Mistake::new(config.origin(ADMIN), ADMIN, what, advice))
    });
    let alternates = &config.alternates;
    let too_many = (alternates.len() > ALTERNATES_MAX).then(|| {
        (format!("{} are too many", alternates.len()), format!("give {ALTERNATES_MAX} at most"))
    });
    let nowhere = alternates.iter().filter(|place| !is_authority(place)).map(|place| {
        let advice = "write addresses like \"chat2.example.org:7443\", without a scheme";
        (format!("{place:?} is not HOST:PORT"), advice.to_owned())
    });
    let alternates = too_many.into_iter().chain(nowhere).map(|(what, advice)| {
        (ALTERNATES, Mistake::new(config.origin(ALTERNATES), ALTERNATES, what, advice))
    });
    let nameless = config.names.iter().filter(|name| !certificate::is_name(name)).map(|name| {
        let what = format!("{name:?} is no host name or IP address");
        let advice = "write names like \"chat.example.org\", without port or scheme";
        (NAMES, Mistake::new(config.origin(NAMES), NAMES, what, advice))
    });
    open.into_iter().chain(alternates).chain(nameless)
}
