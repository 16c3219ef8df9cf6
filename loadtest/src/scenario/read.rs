//! From TOML and overrides to a scenario that makes sense, or to a mistake that is explained.

use std::path::Path;

use super::model::{Kind, Members, Op, Phase, Scenario};
use crate::engine::payload::HEADER_BYTES;

/// The scenarios that come with the tool: (name, TOML).
pub const SHIPPED: [(&str, &str); 14] = [
    ("idle", include_str!("../../scenarios/idle.toml")),
    ("broadcast", include_str!("../../scenarios/broadcast.toml")),
    ("groups", include_str!("../../scenarios/groups.toml")),
    ("crowd", include_str!("../../scenarios/crowd.toml")),
    ("direct", include_str!("../../scenarios/direct.toml")),
    ("many-channels", include_str!("../../scenarios/many-channels.toml")),
    ("reconnect-storm", include_str!("../../scenarios/reconnect-storm.toml")),
    ("come-and-go", include_str!("../../scenarios/come-and-go.toml")),
    ("drain", include_str!("../../scenarios/drain.toml")),
    ("overload", include_str!("../../scenarios/overload.toml")),
    ("shapes", include_str!("../../scenarios/shapes.toml")),
    ("slow-readers", include_str!("../../scenarios/slow-readers.toml")),
    ("history-scroll", include_str!("../../scenarios/history-scroll.toml")),
    ("mixed", include_str!("../../scenarios/mixed.toml")),
];
/// Two names are taken for a slip of the pen above this likeness (Jaro-Winkler, 0-1).
const ALIKE: f64 = 0.75;
/// Largest payload: a message may carry this much.
const PAYLOAD_BYTES_MAX: usize = 16 * 1024;
/// Most rows of a page that a server is asked for.
const PAGE_ROWS_MAX: u32 = 100;

/// What is wrong with a scenario.
#[derive(thiserror::Error, Debug)]
pub enum ScenarioError {
    /// Neither a shipped scenario nor a file.
    #[error("no scenario `{name}`{hint}; there are {}, or give the path of a file", names())]
    Unknown {
        /// What was asked for.
        name: String,
        /// A name like it.
        hint: String,
    },
    /// The file cannot be read.
    #[error("{path}: {cause}")]
    File {
        /// Which.
        path: String,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
    /// Not TOML, or not a scenario.
    #[error("{origin}: {what}")]
    Malformed {
        /// The file, or `--set`.
        origin: String,
        /// What is wrong and where, with a suggestion.
        what: String,
    },
    /// Every value is one, but together they make no sense.
    #[error("{origin}: {what}")]
    Senseless {
        /// The scenario's name.
        origin: String,
        /// What is wrong.
        what: String,
    },
}

fn names() -> String {
    SHIPPED.map(|(name, _)| name).join(", ")
}

/// Reads a shipped scenario by name, or a file by path, puts `sets` (`path=value`, such as
/// `people.connections=500` or `traffic.talk.rate=20`) over it, and checks the whole.
///
/// # Errors
/// [`ScenarioError`]: says what is wrong and what would be right.
pub fn read(name: &str, sets: &[String]) -> Result<Scenario, ScenarioError> {
    let (origin, text) = find(name)?;
    let malformed = |what| ScenarioError::Malformed { origin: origin.clone(), what };
    let scenario: Scenario =
        toml::from_str(&text).map_err(|error| malformed(explain(&error.to_string())))?;
    let scenario = if sets.is_empty() { scenario } else { overridden(&text, sets)? };
    let what = check(&scenario);
    what.map_or(Ok(scenario), |what| Err(ScenarioError::Senseless { origin, what }))
}

fn find(name: &str) -> Result<(String, String), ScenarioError> {
    if let Some((_, text)) = SHIPPED.iter().find(|(shipped, _)| *shipped == name) {
        return Ok((name.into(), (*text).into()));
    }
    let path = Path::new(name);
    if path.extension().is_none() && !path.exists() {
        let like = nearest(name, SHIPPED.iter().map(|(shipped, _)| *shipped));
        let hint = like.map(|like| format!(" (did you mean `{like}`?)")).unwrap_or_default();
        return Err(ScenarioError::Unknown { name: name.into(), hint });
    }
    let text = std::fs::read_to_string(path)
        .map_err(|cause| ScenarioError::File { path: name.into(), cause })?;
    Ok((name.into(), text))
}

/// The scenario with single values replaced.
fn overridden(text: &str, sets: &[String]) -> Result<Scenario, ScenarioError> {
    let malformed =
        |set: &str, what: String| ScenarioError::Malformed { origin: format!("--set {set}"), what };
    let mut table: toml::Table =
        toml::from_str(text).map_err(|error| malformed("", error.to_string()))?;
    for set in sets {
        put(&mut table, set).map_err(|what| malformed(set, what))?;
        // After each, so that the mistake is in the one that is named.
        toml::Value::Table(table.clone())
            .try_into::<Scenario>()
            .map_err(|error| malformed(set, explain(&error.to_string())))?;
    }
    toml::Value::Table(table)
        .try_into()
        .map_err(|error| malformed(&sets.join(" "), explain(&error.to_string())))
}

/// Puts `value` at a dotted path. Elements of a list go by their name, or by number from 0.
fn put(table: &mut toml::Table, set: &str) -> Result<(), String> {
    let form = "it should look like `people.connections=500` or `traffic.talk.rate=20`";
    let (path, value) = set.split_once('=').ok_or(form)?;
    let (parents, leaf) = path.rsplit_once('.').unwrap_or(("", path));
    let value = format!("value = {value}")
        .parse::<toml::Table>()
        .ok()
        .and_then(|mut parsed| parsed.remove("value"))
        // What is no TOML value is a text without its quotes.
        .unwrap_or_else(|| toml::Value::String(value.into()));
    let mut at = table;
    let mut rest = parents;
    while !rest.is_empty() {
        let (part, behind) = rest.split_once('.').unwrap_or((rest, ""));
        rest = behind;
        let next = at.entry(part).or_insert_with(|| toml::Value::Table(toml::Table::new()));
        at = match next {
            toml::Value::Table(table) => table,
            toml::Value::Array(list) => {
                let (name, behind) = rest.split_once('.').unwrap_or((rest, ""));
                rest = behind;
                element(list, part, name)?
            }
            _ => return Err(format!("`{part}` is a value, not a table")),
        };
    }
    at.insert(leaf.into(), value);
    Ok(())
}

fn element<'t>(
    list: &'t mut [toml::Value],
    part: &str,
    name: &str,
) -> Result<&'t mut toml::Table, String> {
    let named = |value: &toml::Value| {
        value.get("name").and_then(toml::Value::as_str).unwrap_or_default().to_owned()
    };
    let names: Vec<String> = list.iter().map(named).collect();
    let at = names.iter().position(|known| known == name).or_else(|| name.parse().ok());
    at.and_then(|at| list.get_mut(at))
        .and_then(toml::Value::as_table_mut)
        .ok_or_else(|| format!("`{part}` has no element `{name}`; it has {}", names.join(", ")))
}

/// Adds the nearest right word to an error that lists the right ones.
fn explain(error: &str) -> String {
    let quoted = |text: &str| -> Vec<String> {
        text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    };
    let unknown = ["unknown field `", "unknown variant `"].iter().find_map(|start| {
        let (_, rest) = error.split_once(start)?;
        rest.split_once('`')
    });
    let text = error.trim_end();
    match unknown {
        Some((word, known)) => match nearest(word, quoted(known).iter().map(String::as_str)) {
            Some(like) => format!("{text}\ndid you mean `{like}`?"),
            None => text.into(),
        },
        None => text.into(),
    }
}

fn nearest<'n>(word: &str, names: impl Iterator<Item = &'n str>) -> Option<String> {
    names
        .map(|name| (strsim::jaro_winkler(word, name), name))
        .filter(|(likeness, _)| *likeness > ALIKE)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name.into())
}

/// What makes no sense, if anything.
pub fn check(scenario: &Scenario) -> Option<String> {
    let Scenario { run, people, channels, traffic, phase, .. } = scenario;
    let positive = |n: f64| n.is_finite() && n > 0.0;
    let not_negative = |n: f64| n.is_finite() && n >= 0.0;
    if people.connections == 0 || !positive(people.connect_per_second) {
        return Some("people.connections and people.connect_per_second must be above 0".into());
    }
    if !positive(run.seconds) || run.repeat == 0 {
        return Some("run.seconds and run.repeat must be above 0".into());
    }
    if !not_negative(run.memory_growth_max) || !not_negative(run.lead_seconds) {
        return Some("run.memory_growth_max and run.lead_seconds must not be below 0".into());
    }
    if !not_negative(run.warmup_seconds) || !not_negative(run.drain_seconds) {
        return Some("run.warmup_seconds and run.drain_seconds must not be below 0".into());
    }
    for (number, class) in channels.iter().enumerate() {
        let name = &class.name;
        if channels[..number].iter().any(|other| other.name == *name) {
            return Some(format!("two [[channels]] are named `{name}`"));
        }
        if class.count == 0 {
            return Some(format!("channels `{name}`: count must be above 0"));
        }
        match (class.kind, class.members) {
            (Kind::Direct, Members::Count(2)) => {}
            (Kind::Direct, _) => {
                return Some(format!("channels `{name}`: a direct channel has 2 members"));
            }
            (Kind::Group | Kind::Broadcast, Members::Count(members))
                if members > people.connections =>
            {
                return Some(format!(
                    "channels `{name}`: members must not be above people.connections \
                     ({}): nobody is in a channel twice",
                    people.connections
                ));
            }
            _ => {}
        }
    }
    let stops = phase.iter().any(|phase| phase.stop.is_some());
    if !(0.01..=1.0).contains(&run.server_share) || (run.server_share < 1.0 && stops) {
        return Some("run.server_share must be 0.01 to 1, and 1 where the server stops".into());
    }
    let phases = phase.len();
    if (0..phases).any(|at| phase[at].overload && (at == 0 || at + 1 == phases)) {
        return Some("a phase of overload needs a phase before it and one after it".into());
    }
    traffic
        .iter()
        .find_map(|stream| check_stream(scenario, stream))
        .or_else(|| phase.iter().find_map(|phase| check_phase(scenario, phase)))
}

fn check_stream(scenario: &Scenario, stream: &super::model::Traffic) -> Option<String> {
    let name = &stream.name;
    if scenario.traffic.iter().filter(|other| other.name == *name).count() > 1 {
        return Some(format!("two [[traffic]] are named `{name}`"));
    }
    if !scenario.channels.iter().any(|class| class.name == stream.channels) {
        let known: Vec<&str> = scenario.channels.iter().map(|class| class.name.as_str()).collect();
        let like = nearest(&stream.channels, known.iter().copied());
        let hint = like.map(|like| format!("; did you mean `{like}`?")).unwrap_or_default();
        return Some(format!(
            "traffic `{name}`: no [[channels]] are named `{}`{hint}",
            stream.channels
        ));
    }
    if !stream.rate.is_finite() || stream.rate <= 0.0 || !stream.zipf.is_finite() {
        return Some(format!("traffic `{name}`: rate must be above 0"));
    }
    if stream.zipf < 0.0 {
        return Some(format!("traffic `{name}`: zipf must not be below 0"));
    }
    if !(HEADER_BYTES..=PAYLOAD_BYTES_MAX).contains(&stream.payload_bytes) {
        return Some(format!(
            "traffic `{name}`: payload_bytes must be {HEADER_BYTES} to {PAYLOAD_BYTES_MAX}: the \
             figures and the check ride in it"
        ));
    }
    let history = stream.op == Op::History;
    (history && (stream.pages == 0 || !(1..=PAGE_ROWS_MAX).contains(&stream.rows)))
        .then(|| format!("traffic `{name}`: pages must be above 0, and rows 1 to {PAGE_ROWS_MAX}"))
}

fn check_phase(scenario: &Scenario, phase: &Phase) -> Option<String> {
    let name = &phase.name;
    let share = |n: f64| n.is_finite() && (0.0..=1.0).contains(&n);
    if let Some(resting) =
        phase.without.iter().find(|rest| !scenario.traffic.iter().any(|t| t.name == **rest))
    {
        return Some(format!("phase `{name}`: no [[traffic]] is named `{resting}`"));
    }
    if phase.seconds.is_some_and(|n| !n.is_finite() || n <= 0.0)
        || !phase.load.is_finite()
        || phase.load <= 0.0
    {
        return Some(format!("phase `{name}`: seconds and load must be above 0"));
    }
    if let Some(storm) = phase.storm
        && !(share(storm.share) && storm.at_seconds >= 0.0 && storm.jitter_seconds >= 0.0)
    {
        return Some(format!("phase `{name}`: storm.share must be 0 to 1, its times not below 0"));
    }
    if !share(phase.churn_per_minute / 60.0) {
        return Some(format!("phase `{name}`: churn_per_minute must be 0 to 60"));
    }
    if phase.slow.is_some_and(|slow| !share(slow.share)) {
        return Some(format!("phase `{name}`: slow.share must be 0 to 1"));
    }
    let seconds = phase.seconds.unwrap_or(scenario.run.seconds);
    if phase.stop.is_some_and(|stop| !(0.0..seconds).contains(&stop.at_seconds)) {
        return Some(format!("phase `{name}`: stop.at_seconds must be 0 to its {seconds} seconds"));
    }
    let visits = phase.visits?;
    let possible = share(visits.share)
        && share(visits.broken)
        && visits.per_second.is_finite()
        && visits.per_second > 0.0;
    (!possible).then(|| {
        format!("phase `{name}`: visits.share and visits.broken must be 0 to 1, per_second above 0")
    })
}

impl Scenario {
    /// Somebody stops reading in some phase.
    pub fn stalls(&self) -> bool {
        self.phase.iter().any(|phase| phase.slow.is_some_and(|slow| slow.bytes_per_second == 0))
    }

    /// The phases to run; at least one.
    pub fn phases(&self) -> Vec<Phase> {
        if self.phase.is_empty() { vec![Phase::plain("steady")] } else { self.phase.clone() }
    }
}
