//! Rooms put together, from the ground up: parse, open, bind, and only then serve.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::mpsc::Sender;
use std::thread::JoinHandle;
use std::time::Instant;
use std::{fs, io};

use damso_proto::server::ServerOptions;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

use super::config::{self, Budget, Config, Mistake, Mistakes};
use super::descriptors;
use super::identity::{Identity, IdentityError};
use super::key_server::KeyServer;
use super::memory;
use super::ready::Ready;
use super::reload::Reload;
use super::running::Server;
use super::shards::{self, Seed};
use super::web::{self, OwnTokens};
use crate::admin::{self, AdminToken};
use crate::api::{self, Errands};
use crate::connections;
use crate::delivery::{self, Groups, Mailboxes, Tools};
use crate::model::limits::{self, Limits};
use crate::model::memory::Memory;
use crate::requests::{Operator, Revoker};
use crate::runtime::clock::{Clock, RealClock};
use crate::runtime::door::Door;
use crate::runtime::memory::Supply;
use crate::runtime::placement::Shards;
use crate::runtime::random::{Random, SystemRandom};
use crate::runtime::shutdown::{Drain, Farewell, Phase, Shutdown, Watch};
use crate::runtime::snowflake::{Machine, Snowflake};
use crate::session;
use crate::session::token::Verifier;
use crate::store::directory::{self, Directory, DirectoryError, ServiceKeys, Sqlite};
use crate::store::fjall::{self, FjallLog};
use crate::store::forgetful::{self, ForgetfulLog};
use crate::store::log::{ChannelLog, StoreError};
use crate::transport::{self, BindError, Handovers, Proxies, Web};

/// Why a server does not start, and what to do about it.
#[derive(thiserror::Error, Debug)]
pub enum StartError {
    /// Settings that cannot be served with.
    #[error(transparent)]
    Config(#[from] Mistakes),
    /// Certificate or token keys.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// History cannot be served.
    #[error("history: {0}")]
    History(#[from] StoreError),
    /// The directory of people and channels cannot be served.
    #[error("directory: {0}")]
    Directory(#[from] DirectoryError),
    /// The operating system gives no thread.
    #[error("cannot start a thread: {0}")]
    Thread(#[source] io::Error),
}

/// What every shard shares.
struct Rooms {
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    log: Arc<dyn ChannelLog>,
    directory: Arc<dyn Directory>,
    service_keys: Arc<dyn ServiceKeys>,
    door: Door,
    mailboxes: Mailboxes,
    handovers: Handovers,
    errands: Errands,
    memory: Memory,
    shards: Shards,
}

impl Server {
    /// Checks the configuration whole, opens the stores, binds all ports, and serves.
    ///
    /// # Errors
    /// [`StartError`]: nothing serves then.
    pub fn start(config: Config) -> Result<Self, StartError> {
        config.check_for_start()?;
        let token = config::admin_token(&config).map_err(wrong)?;
        let metrics = recorder();
        descriptors::raise();
        fs::create_dir_all(&config.data)
            .map_err(|error| wrong(config::no_data(&config, &error)))?;
        let mut identity = Identity::open(&config)?;
        let renewal = identity.take_renewal();
        let identity = Arc::new(identity);
        let rooms = open(&config)?;
        let key_server = key_server(&config, &identity, &rooms)?;
        let Ports { chat: listeners, page, web } = Ports::bind(&config, rooms.shards)?;
        let shutdown = Shutdown::new();
        let shared = Shared {
            address: listeners.first().and_then(|it| it.local_addr().ok()).unwrap_or(config.chat),
            api: web.local_addr().unwrap_or(config.api),
            identity: identity.clone(),
            shutdown: shutdown.watch(),
            live: Arc::new(AtomicUsize::new(0)),
            live_max: descriptors::connections_max(&config),
            drain: Arc::new(Drain::new(farewell(&config))),
        };
        let admin = page.local_addr().unwrap_or(config.admin);
        let (drained, all_drained) = std::sync::mpsc::channel();
        let budget = watch_memory(&rooms, &config, shutdown.watch())?;
        let shards = start_shards(&rooms, &config, &shared, listeners, &drained)?;
        let parts = api_parts(&rooms, &config, &shared);
        let web = web::spawn(web_of(web, &identity, &config), parts, shutdown.watch(), drained)
            .map_err(StartError::Thread)?;
        delivery::take_up(&*rooms.directory, &rooms.mailboxes)?;
        let parts = admin_parts(&rooms, &shared, (metrics, token, budget));
        let page = web::spawn_admin(admin_web(page), parts, shutdown.watch());
        let page = page.map_err(StartError::Thread)?;
        let reload = Reload::spawn(renewal).map_err(StartError::Thread)?;
        let Shared { address, api, drain, .. } = shared;
        Ok(Self {
            config,
            address,
            admin,
            api,
            identity,
            reload,
            revoker: revoker(&rooms),
            log: rooms.log,
            _key_server: key_server,
            shutdown,
            drain,
            shards,
            page: Some(page),
            web: Some(web),
            all_drained,
        })
    }
}

/// What threads of a server share beside its rooms.
struct Shared {
    /// Where chat clients connect.
    address: SocketAddr,
    /// Where backends ask.
    api: SocketAddr,
    identity: Arc<Identity>,
    shutdown: Watch,
    /// Connections that are open, logged in or not.
    live: Arc<AtomicUsize>,
    live_max: usize,
    drain: Arc<Drain>,
}

fn start_shards(
    rooms: &Rooms,
    config: &Config,
    shared: &Shared,
    listeners: Vec<TcpListener>,
    drained: &Sender<()>,
) -> Result<Vec<JoinHandle<()>>, StartError> {
    let Shared { identity, live, live_max, drain, shutdown, .. } = shared;
    let start = |(me, listener)| {
        shards::spawn(Seed {
            me,
            mailboxes: rooms.mailboxes.clone(),
            handovers: rooms.handovers.clone(),
            errands: rooms.errands.clone(),
            tools: tools(rooms, me, config),
            random: rooms.random.clone(),
            connections: connection_options(config),
            options: options(config, identity.verifier()),
            listener,
            tls: identity.tls(),
            door: identity.door(rooms.directory.clone(), config.provision),
            live: live.clone(),
            live_max: *live_max,
            proxies: Proxies::new(config.trusted_proxies.clone()),
            shutdown: shutdown.clone(),
            drain: drain.clone(),
            drained: drained.clone(),
        })
    };
    let started: io::Result<Vec<_>> = rooms.shards.all().zip(listeners).map(start).collect();
    started.map_err(StartError::Thread)
}

/// Everything that listens.
struct Ports {
    chat: Vec<TcpListener>,
    page: TcpListener,
    web: TcpListener,
}

impl Ports {
    /// They were free a moment ago, mostly.
    fn bind(config: &Config, shards: Shards) -> Result<Self, StartError> {
        let chat = transport::bind(config.chat, shards.count());
        let page = TcpListener::bind(config.admin);
        let web = TcpListener::bind(config.api);
        Ok(Self {
            chat: chat.map_err(|BindError { address, source }| {
                wrong(config::not_chat(config, address, &source))
            })?,
            page: page.map_err(|error| wrong(config::not_admin(config, &error)))?,
            web: web.map_err(|error| wrong(config::not_api(config, &error)))?,
        })
    }
}

/// Begins to watch memory; says how much there may be.
fn watch_memory(rooms: &Rooms, config: &Config, shutdown: Watch) -> Result<Budget, StartError> {
    let supply = Supply::now();
    let budget = Budget::new(config.memory, &supply);
    if let Some((there, whose)) = budget.beyond(&supply) {
        let (budget, there_mib) = (budget.size(), there >> 20);
        tracing::warn!(%budget, there_mib, "a server needs more memory than there is {whose}");
    }
    let (clock, door) = (rooms.clock.clone(), rooms.door.threads());
    let watched = memory::watch(budget, rooms.memory.clone(), (clock, door), shutdown);
    watched.map_err(StartError::Thread)?;
    Ok(budget)
}

/// What fetches keys of issuers, if there is anything to fetch.
fn key_server(
    config: &Config,
    identity: &Identity,
    rooms: &Rooms,
) -> Result<Option<KeyServer>, StartError> {
    let (Some(url), Some(fetched)) = (&config.token_jwks, identity.fetched()) else {
        return Ok(None);
    };
    let server = KeyServer::start(url.clone(), fetched.clone(), rooms.clock.clone());
    server.map(Some).map_err(StartError::Thread)
}

fn wrong(mistake: Mistake) -> StartError {
    StartError::Config(mistake.into())
}

fn open(config: &Config) -> Result<Rooms, StartError> {
    let shards = config.shard_count();
    let clock: Arc<dyn Clock> = Arc::new(RealClock::new());
    let mailboxes = Mailboxes::new(shards);
    let sink = Arc::new(Groups::new(mailboxes.clone()));
    let random: Arc<dyn Random> = Arc::new(SystemRandom::new());
    let mut options = fjall::Options::new(config.data.join("history"));
    let skip = std::env::var(fjall::Sync::SKIP_VARIABLE).ok();
    options.sync = fjall::Sync::from_variable(skip.as_deref());
    if options.sync == fjall::Sync::SkipForTests {
        tracing::error!(
            "{} is set: acknowledged messages are lost at a power cut",
            fjall::Sync::SKIP_VARIABLE
        );
    }
    let log = with_memory(FjallLog::open(&options, sink, clock.clone())?);
    let path = config.data.join("directory.sqlite");
    let directory = Sqlite::open(&path, directory_options(config), random.clone())?;
    let directory = Arc::new(directory);
    let door = Door::new("door", limits::DOOR_THREADS, limits::DOOR_WAITING_MAX)
        .map_err(StartError::Thread)?;
    Ok(Rooms {
        clock,
        random,
        log,
        directory: directory.clone(),
        service_keys: directory,
        door,
        mailboxes,
        handovers: Handovers::new(shards),
        errands: Errands::new(shards),
        memory: Memory::default(),
        shards,
    })
}

/// The store, with its memory of idempotency keys unless a test asked for none.
fn with_memory(log: FjallLog) -> Arc<dyn ChannelLog> {
    if std::env::var(forgetful::VARIABLE).is_ok_and(|value| value == "1") {
        tracing::error!(
            "{} is set: messages that are sent again are stored twice",
            forgetful::VARIABLE
        );
        return Arc::new(ForgetfulLog::new(Arc::new(log)));
    }
    Arc::new(log)
}

fn tools(rooms: &Rooms, me: crate::runtime::route::ShardNo, config: &Config) -> Tools {
    let machine = Machine::new(0, me).expect("a shard of 32 at most, on node 0");
    let ids = Arc::new(Snowflake::new(machine, rooms.log.high_water()));
    Tools {
        clock: rooms.clock.clone(),
        ids,
        log: rooms.log.clone(),
        directory: rooms.directory.clone(),
        door: rooms.door.clone(),
        limits: config.limits,
        memory: rooms.memory.clone(),
    }
}

fn api_parts(rooms: &Rooms, config: &Config, shared: &Shared) -> api::Parts {
    let tokens = OwnTokens { identity: shared.identity.clone(), address: shared.address };
    api::Parts {
        errands: rooms.errands.clone(),
        keys: rooms.service_keys.clone(),
        door: rooms.door.clone(),
        clock: rooms.clock.clone(),
        random: rooms.random.clone(),
        tokens: Arc::new(tokens),
        revoker: revoker(rooms),
        limits: config.limits,
        connections: shared.live.clone(),
        version: env!("CARGO_PKG_VERSION"),
    }
}

fn admin_parts(
    rooms: &Rooms,
    shared: &Shared,
    (metrics, token, budget): (PrometheusHandle, Option<AdminToken>, Budget),
) -> admin::Parts {
    let health = Arc::new(Ready {
        log: rooms.log.clone(),
        identity: shared.identity.clone(),
        memory: rooms.memory.clone(),
        memory_budget_bytes: budget.bytes,
        shutdown: shared.shutdown.clone(),
        since: Instant::now(),
        live: shared.live.clone(),
        live_max: shared.live_max,
        addresses: (shared.address, shared.api),
    });
    let operator = Operator {
        directory: rooms.directory.clone(),
        door: rooms.door.clone(),
        mailboxes: rooms.mailboxes.clone(),
    };
    let (revoker, drain) = (revoker(rooms), shared.drain.clone());
    admin::Parts { metrics, health, revoker, operator, drain, token }
}

fn web_of(listener: TcpListener, identity: &Identity, config: &Config) -> Web {
    let Limits { handshake_time, shutdown_time, .. } = config.limits;
    Web {
        name: "api",
        listener,
        tls: Some(identity.tls()),
        connections_max: limits::API_CONNECTIONS_MAX,
        handshake_time,
        until: Phase::Draining,
        drain_time: shutdown_time / limits::DRAIN_COMMIT_SHARE,
    }
}

/// It tells how the end goes on until it is there.
fn admin_web(listener: TcpListener) -> Web {
    Web {
        name: "admin",
        listener,
        tls: None,
        connections_max: limits::ADMIN_CONNECTIONS_MAX,
        handshake_time: limits::HANDSHAKE_TIME_MAX,
        until: Phase::Stopped,
        drain_time: limits::FAREWELL,
    }
}

/// What clients are told at the end.
fn farewell(config: &Config) -> Farewell {
    Farewell { spread: config.limits.drain_spread, to: config.alternates.clone() }
}

fn connection_options(config: &Config) -> connections::Options {
    let Limits { channel_log_bytes, shard_log_bytes, stalled_time, .. } = config.limits;
    connections::Options {
        log_bytes_max: channel_log_bytes,
        shard_log_bytes_max: shard_log_bytes,
        stalled_max: stalled_time,
        ..connections::Options::default()
    }
}

fn directory_options(config: &Config) -> directory::Options {
    directory::Options {
        channels_per_user_max: config.limits.channels_per_user,
        group_members_max: config.limits.group_members,
        broadcast_members_max: config.limits.broadcast_members,
    }
}

fn revoker(rooms: &Rooms) -> Revoker {
    Revoker {
        directory: rooms.directory.clone(),
        door: rooms.door.clone(),
        mailboxes: rooms.mailboxes.clone(),
        clock: rooms.clock.clone(),
    }
}

fn options(config: &Config, verifier: Arc<Verifier>) -> session::Options {
    let Limits { probe_after, idle_limit, login_time, .. } = config.limits;
    session::Options {
        conn: ServerOptions {
            probe_after,
            idle_limit,
            login_limit: login_time,
            ..ServerOptions::default()
        },
        server: concat!("damso ", env!("CARGO_PKG_VERSION")).to_owned(),
        alternates: config.alternates.clone(),
        verifier,
    }
}

/// The process has one recorder; a second server in it (tests) shares it.
fn recorder() -> PrometheusHandle {
    static HANDLE: std::sync::OnceLock<PrometheusHandle> = std::sync::OnceLock::new();
    let install = || {
        let recorder = PrometheusBuilder::new()
            .set_buckets(limits::SECONDS_BUCKETS)
            .unwrap_or_else(|_| PrometheusBuilder::new())
            .build_recorder();
        let handle = recorder.handle();
        if metrics::set_global_recorder(recorder).is_err() {
            tracing::warn!("another metrics recorder is installed; the page stays empty");
        }
        handle
    };
    HANDLE.get_or_init(install).clone()
}
