//! Options of a service that a container takes over one by one: memory, CPUs, name
//! servers, terminal, namespaces. Each has one field in the Engine API; which one is the
//! engine's to know.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::scalars::{bytes, scalar, undouble};

/// Options that a candidate keeps as they are; what is not given is `None` or empty.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Options {
    /// `mem_limit`, in bytes.
    pub memory: Option<u64>,
    /// `mem_reservation`, in bytes.
    pub memory_reservation: Option<u64>,
    /// `memswap_limit`: memory and swap together, in bytes; -1 is no limit.
    pub memory_swap: Option<i64>,
    /// `mem_swappiness`, 0 to 100.
    pub memory_swappiness: Option<i64>,
    /// `cpus`: how many at once.
    pub cpus: Option<f64>,
    /// `cpu_shares`: relative weight.
    pub cpu_shares: Option<i64>,
    /// `cpu_period` in microseconds.
    pub cpu_period: Option<i64>,
    /// `cpu_quota` in microseconds of each period.
    pub cpu_quota: Option<i64>,
    /// `cpuset`: which ones.
    pub cpuset: Option<String>,
    /// `pids_limit`; -1 is no limit.
    pub pids_limit: Option<i64>,
    /// `oom_score_adj`, -1000 to 1000.
    pub oom_score_adj: Option<i64>,
    /// `oom_kill_disable`.
    pub oom_kill_disable: Option<bool>,
    /// `dns`: name servers.
    pub dns: Vec<String>,
    /// `dns_search`.
    pub dns_search: Vec<String>,
    /// `dns_opt`.
    pub dns_options: Vec<String>,
    /// `init`: whether an init process reaps the others.
    pub init: Option<bool>,
    /// `tty`.
    pub tty: Option<bool>,
    /// `stdin_open`.
    pub stdin_open: Option<bool>,
    /// `privileged`.
    pub privileged: Option<bool>,
    /// `read_only`: the root file system.
    pub read_only: Option<bool>,
    /// `group_add`.
    pub groups: Vec<String>,
    /// `stop_signal`.
    pub stop_signal: Option<String>,
    /// `platform`: `linux/amd64`.
    pub platform: Option<String>,
    /// `pid`: `host`, or nothing.
    pub pid: Option<String>,
    /// `userns_mode`.
    pub user_namespace: Option<String>,
    /// `uts`.
    pub uts: Option<String>,
    /// `cgroup`: `host` or `private`.
    pub cgroup: Option<String>,
    /// `cgroup_parent`.
    pub cgroup_parent: Option<String>,
    /// `device_cgroup_rules`.
    pub device_rules: Vec<String>,
    /// `sysctls`.
    pub sysctls: BTreeMap<String, String>,
    /// `storage_opt`.
    pub storage: BTreeMap<String, String>,
    /// `annotations`.
    pub annotations: BTreeMap<String, String>,
}

impl Options {
    /// Takes the options out of a service's other keys.
    ///
    /// # Errors
    /// A value that is none of its key.
    pub(super) fn take(rest: &mut BTreeMap<String, Value>) -> Result<Self, String> {
        let mut keys = Keys(rest);
        Ok(Self {
            memory: keys.bytes("mem_limit")?,
            memory_reservation: keys.bytes("mem_reservation")?,
            memory_swap: keys.swap("memswap_limit")?,
            memory_swappiness: keys.number("mem_swappiness")?,
            cpus: keys.number("cpus")?,
            cpu_shares: keys.number("cpu_shares")?,
            cpu_period: keys.micros("cpu_period")?,
            cpu_quota: keys.micros("cpu_quota")?,
            cpuset: keys.text("cpuset"),
            pids_limit: keys.number("pids_limit")?,
            oom_score_adj: keys.number("oom_score_adj")?,
            oom_kill_disable: keys.number("oom_kill_disable")?,
            dns: keys.list("dns"),
            dns_search: keys.list("dns_search"),
            dns_options: keys.list("dns_opt"),
            init: keys.number("init")?,
            tty: keys.number("tty")?,
            stdin_open: keys.number("stdin_open")?,
            privileged: keys.number("privileged")?,
            read_only: keys.number("read_only")?,
            groups: keys.list("group_add"),
            stop_signal: keys.text("stop_signal"),
            platform: keys.text("platform"),
            pid: keys.one_of("pid", &["host"])?,
            user_namespace: keys.one_of("userns_mode", &["host"])?,
            uts: keys.one_of("uts", &["host"])?,
            cgroup: keys.one_of("cgroup", &["host", "private"])?,
            cgroup_parent: keys.text("cgroup_parent"),
            device_rules: keys.list("device_cgroup_rules"),
            sysctls: keys.pairs("sysctls"),
            storage: keys.pairs("storage_opt"),
            annotations: keys.pairs("annotations"),
        })
    }

    /// Takes the limits of `deploy.resources` over those of the service's own keys, as the
    /// compose tool does.
    ///
    /// # Errors
    /// A value that is none of its key.
    pub(super) fn limit(
        &mut self,
        limits: &mut BTreeMap<String, Value>,
        reservations: &mut BTreeMap<String, Value>,
    ) -> Result<(), String> {
        let mut keys = Keys(limits);
        self.memory = keys.bytes("memory")?.or(self.memory);
        self.cpus = keys.number("cpus")?.or(self.cpus);
        self.pids_limit = keys.number("pids")?.or(self.pids_limit);
        let mut keys = Keys(reservations);
        self.memory_reservation = keys.bytes("memory")?.or(self.memory_reservation);
        // Means something to a swarm alone.
        keys.0.remove("cpus");
        Ok(())
    }
}

struct Keys<'a>(&'a mut BTreeMap<String, Value>);

impl Keys<'_> {
    fn text(&mut self, key: &str) -> Option<String> {
        let value = self.0.remove(key).filter(|value| !value.is_null())?;
        Some(undouble(&scalar(&value))).filter(|text| !text.is_empty())
    }

    fn number<T: std::str::FromStr>(&mut self, key: &str) -> Result<Option<T>, String> {
        let parsed = |text: String| text.trim().parse().map_err(|_| format!("`{key}: {text}`"));
        self.text(key).map(parsed).transpose()
    }

    fn bytes(&mut self, key: &str) -> Result<Option<u64>, String> {
        let sized = |text: String| bytes(&text).map_err(|why| format!("`{key}`: {why}"));
        self.text(key).map(sized).transpose()
    }

    fn swap(&mut self, key: &str) -> Result<Option<i64>, String> {
        if self.0.get(key).is_some_and(|value| scalar(value) == "-1") {
            self.0.remove(key);
            return Ok(Some(-1));
        }
        Ok(self.bytes(key)?.map(u64::cast_signed))
    }

    /// `50ms`, `100us`, or a number of microseconds.
    fn micros(&mut self, key: &str) -> Result<Option<i64>, String> {
        let Some(text) = self.text(key) else { return Ok(None) };
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let unit = match &text[digits.len()..] {
            "" | "us" => 1.0,
            "ms" => 1e3,
            "s" => 1e6,
            _ => return Err(format!("`{key}: {text}`")),
        };
        let number: f64 = digits.parse().map_err(|_| format!("`{key}: {text}`"))?;
        Ok(Some((number * unit).round() as i64))
    }

    fn one_of(&mut self, key: &str, known: &[&str]) -> Result<Option<String>, String> {
        match self.text(key) {
            Some(text) if !known.contains(&text.as_str()) => Err(format!("`{key}: {text}`")),
            text => Ok(text),
        }
    }

    fn list(&mut self, key: &str) -> Vec<String> {
        match self.0.remove(key) {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(items)) => items.iter().map(|item| undouble(&scalar(item))).collect(),
            Some(one) => vec![undouble(&scalar(&one))],
        }
    }

    fn pairs(&mut self, key: &str) -> BTreeMap<String, String> {
        match self.0.remove(key) {
            Some(Value::Object(map)) => {
                let pair = |(name, value): (String, Value)| (name, undouble(&scalar(&value)));
                map.into_iter().map(pair).collect()
            }
            Some(Value::Array(items)) => {
                let pair = |item: &Value| {
                    let text = undouble(&scalar(item));
                    let (name, value) = text.split_once('=').unwrap_or((&text, ""));
                    (name.to_owned(), value.to_owned())
                };
                items.iter().map(pair).collect()
            }
            _ => BTreeMap::new(),
        }
    }
}
