//! The server's CPU time, memory and descriptors, from its process or from its metrics page.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use crate::host::Process;

/// How long a metrics page may take.
const PAGE_TIME: Duration = Duration::from_secs(2);
/// The longest metrics page that is read, bytes.
const PAGE_BYTES_MAX: u64 = 4 << 20;

/// Where figures of the server come from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Watch {
    /// Nowhere.
    Nothing,
    /// A process of this machine: exact to the nanosecond.
    Process(u32),
    /// A Prometheus page over plain HTTP: exact to what it says, often 10 ms of CPU time.
    Page {
        /// Host and port.
        host: String,
        /// Path on it.
        path: String,
    },
}

impl Watch {
    /// Reads `http://HOST:PORT/PATH`.
    ///
    /// # Errors
    /// It is something else; the text says what it should be.
    pub(super) fn page(url: &str) -> Result<Self, String> {
        let rest = url.strip_prefix("http://").ok_or_else(|| {
            format!("--metrics {url}: it should look like http://127.0.0.1:9464/metrics")
        })?;
        let (host, path) = rest.split_once('/').unwrap_or((rest, "metrics"));
        Ok(Self::Page { host: host.into(), path: format!("/{path}") })
    }

    /// Reads it now. `None`: nothing is to be had.
    pub(super) fn read(&self) -> Option<Process> {
        match self {
            Self::Nothing => None,
            Self::Process(pid) => Process::read(*pid),
            Self::Page { host, path } => parse(&fetch(host, path).ok()?),
        }
    }

    /// Files that it has open. `None`: that is not to be had.
    pub(super) fn files(&self) -> Option<u64> {
        match self {
            Self::Nothing | Self::Page { .. } => None,
            Self::Process(pid) => Process::files(*pid),
        }
    }

    /// How much each table of the server holds now. `None`: there is no page that says so.
    pub(super) fn tables(&self) -> Option<BTreeMap<String, f64>> {
        match self {
            Self::Nothing | Self::Process(_) => None,
            Self::Page { host, path } => Some(tables(&fetch(host, path).ok()?)),
        }
    }
}

/// Gauges that are no tables: sizes of things that grow by design, states, times and identities.
const NO_TABLES: [&str; 12] = [
    "damso_certificate_not_after_seconds",
    "damso_memory_budget_bytes",
    "damso_memory_level",
    "damso_memory_used_bytes",
    "damso_store_committer_priority_raised",
    "damso_store_free_bytes",
    "damso_store_high_water_id",
    "damso_store_last_group",
    "damso_store_watermark_lag_groups",
    "damso_store_writable",
    "damso_token_keys_fetched",
    "damso_unsent_oldest_seconds",
];

/// Every gauge of the product that counts what a table holds, its shards together.
fn tables(page: &str) -> BTreeMap<String, f64> {
    let gauges: BTreeSet<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" gauge"))
        .filter(|name| name.starts_with("damso_") && !NO_TABLES.contains(name))
        .collect();
    let mut found = BTreeMap::new();
    for line in page.lines() {
        let name = line.split(['{', ' ']).next().unwrap_or_default();
        let value = line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok());
        if let Some(value) = value.filter(|_| gauges.contains(name)) {
            *found.entry(name.to_owned()).or_insert(0.0) += value;
        }
    }
    found
}

fn fetch(host: &str, path: &str) -> std::io::Result<String> {
    let address = host
        .to_socket_addrs()?
        .next()
        .ok_or_else(|| std::io::Error::from(std::io::ErrorKind::NotFound))?;
    let mut stream = TcpStream::connect_timeout(&address, PAGE_TIME)?;
    stream.set_read_timeout(Some(PAGE_TIME))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n")?;
    let mut page = String::new();
    stream.take(PAGE_BYTES_MAX).read_to_string(&mut page)?;
    Ok(page)
}

/// The three figures in the text of a page; memory alone decides whether it is one.
fn parse(page: &str) -> Option<Process> {
    let value = |name: &str| {
        page.lines().find_map(|line| {
            let rest = line.strip_prefix(name)?.strip_prefix(' ')?;
            rest.split(' ').next()?.parse::<f64>().ok()
        })
    };
    Some(Process {
        cpu_ns: (value("process_cpu_seconds_total")? * 1e9) as u64,
        resident_bytes: value("process_resident_memory_bytes")? as u64,
        descriptors: value("process_open_fds").unwrap_or(0.0) as u64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_read_by_its_names() {
        let page = "HTTP/1.0 200 OK\r\n\r\n# TYPE process_cpu_seconds_total counter\n\
                    process_cpu_seconds_total 1.25\nprocess_open_fds 9\n\
                    process_resident_memory_bytes 1048576\n";
        let expected = Process { cpu_ns: 1_250_000_000, resident_bytes: 1 << 20, descriptors: 9 };
        assert_eq!(parse(page), Some(expected));
        assert_eq!(parse("HTTP/1.0 404 Not Found\r\n\r\n"), None);
    }

    #[test]
    fn tables_are_the_products_gauges_summed_over_shards() {
        let page = "# TYPE damso_sessions gauge\ndamso_sessions{shard=\"0\"} 3\n\
                    damso_sessions{shard=\"1\"} 4\n# TYPE damso_sessions_opened_total counter\n\
                    damso_sessions_opened_total 9\n# TYPE process_open_fds gauge\n\
                    process_open_fds 9\n# TYPE damso_store_last_group gauge\n\
                    damso_store_last_group 7\n";
        assert_eq!(tables(page), [("damso_sessions".to_owned(), 7.0)].into());
    }

    #[test]
    fn an_address_is_taken_apart() {
        let page = |host: &str, path: &str| Watch::Page { host: host.into(), path: path.into() };
        assert_eq!(Watch::page("http://a:1/m").unwrap(), page("a:1", "/m"));
        assert_eq!(Watch::page("http://a:1").unwrap(), page("a:1", "/metrics"));
        assert!(Watch::page("a:1").unwrap_err().contains("http://127.0.0.1"));
    }
}
