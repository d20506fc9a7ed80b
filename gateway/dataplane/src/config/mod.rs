//! sluicegate.toml and what flags put over it. An unknown key is refused by name.

mod access;
mod decisions;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

use crate::clock::{MICROS, MILLIS, Ticks};
pub use access::{CallerSettings, TlsSettings};
pub use decisions::{DecisionLogSettings, LoggedInputs};

/// Which runtimes speak gRPC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IoModel {
    /// One single-threaded runtime a thread; a connection stays on its thread.
    PerThread,
    /// One work-stealing runtime over all threads; kept to be measured against.
    WorkStealing,
}

/// Which tool's habits the answers follow where they differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Compat {
    /// Status codes as gRPC means them.
    None,
    /// Codes, sentences and server name as Triton's clients and load tools expect them.
    Triton,
}

/// Who may load and unload models through the repository calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RepositoryCalls {
    Off,
    /// Callers on this machine.
    Local,
}

/// What ONNX Runtime runs a model on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Provider {
    #[default]
    Cpu,
    /// Needs an ONNX Runtime that was built with it (onnxruntime-gpu).
    Cuda,
}

/// What the operator says to engines in Python, each by its name; they know their keys themselves.
pub type EngineOptions = BTreeMap<String, toml::Table>;

/// Which versions of a model are served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Versions {
    /// The newest so many.
    Latest(usize),
    All,
    Only(Vec<u64>),
}

impl Default for Versions {
    fn default() -> Self {
        Self::Latest(1)
    }
}

impl<'de> Deserialize<'de> for Versions {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Said {
            Word(String),
            Number(usize),
            List(Vec<u64>),
        }
        let expected =
            "expected \"latest\", \"all\", a number of newest versions or a list of versions";
        let refused = || serde::de::Error::custom(expected);
        match Said::deserialize(deserializer).map_err(|_| refused())? {
            Said::Word(word) if word == "latest" => Ok(Self::Latest(1)),
            Said::Word(word) if word == "all" => Ok(Self::All),
            Said::Number(n) if n > 0 => Ok(Self::Latest(n)),
            Said::List(list) if !list.is_empty() => Ok(Self::Only(list)),
            _ => Err(refused()),
        }
    }
}

impl Versions {
    /// Those of `present` (ascending) that are to be served.
    pub fn pick(&self, present: &[u64]) -> Vec<u64> {
        match self {
            Self::Latest(n) => present[present.len().saturating_sub(*n)..].to_vec(),
            Self::All => present.to_vec(),
            Self::Only(list) => present
                .iter()
                .copied()
                .filter(|v| list.contains(v))
                .collect(),
        }
    }
}

/// `[telemetry]`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TelemetrySettings {
    /// Where the telemetry process sends spans and metrics (OTLP over gRPC); empty for nowhere.
    pub otlp: String,
    /// The share of requests that are traced though their callers said nothing.
    pub trace_ratio: f64,
    /// Seconds between two exports.
    pub export_seconds: u64,
    /// Histograms and counters of requests; off only to measure what they cost.
    pub metrics: bool,
}

impl Default for TelemetrySettings {
    fn default() -> Self {
        Self {
            otlp: String::new(),
            trace_ratio: 0.01,
            export_seconds: 5,
            metrics: true,
        }
    }
}

/// `[governance]`: the models that answer are those that people signed for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GovernanceSettings {
    /// The governance folder.
    pub home: PathBuf,
    /// Certificates of the admin door: ca.pem, server.pem, server.key. Empty: the governance service
    /// is not started from here.
    #[serde(default)]
    pub tls: PathBuf,
    /// The admin door of the governance service that is followed, HOST:PORT. With it `tls` has
    /// ca.pem, client.pem, client.key, and a follower is started in the service's place.
    #[serde(default)]
    pub follow: String,
}

impl GovernanceSettings {
    fn check(&self) -> Result<(), String> {
        if self.follow.is_empty() {
            return Ok(());
        }
        let port = self.follow.rsplit_once(':').map(|(_, port)| port.parse());
        if !matches!(port, Some(Ok::<u16, _>(1..))) {
            return Err(format!(
                "[governance] follow is '{}', it must be HOST:PORT",
                self.follow
            ));
        }
        if self.tls.as_os_str().is_empty() {
            return Err(
                "[governance] follow needs tls: a folder with ca.pem, client.pem and client.key"
                    .into(),
            );
        }
        Ok(())
    }
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    pub models: PathBuf,
    pub grpc: String,
    pub http: String,
    pub admin: String,
    pub io_threads: usize,
    pub io_model: IoModel,
    pub io_spin_us: u64,
    pub lanes: usize,
    pub tokenizer_threads: usize,
    pub max_message_bytes: usize,
    pub max_connections: usize,
    pub max_streams: u32,
    pub drain_seconds: u64,
    pub lame_duck_seconds: u64,
    pub watch_seconds: u64,
    pub compat: Compat,
    pub repository_calls: RepositoryCalls,
    pub max_unread_bytes: usize,
    pub control_socket: PathBuf,
    pub telemetry: TelemetrySettings,
    pub governance: Option<GovernanceSettings>,
    pub decision_log: Option<DecisionLogSettings>,
    pub tls: Option<TlsSettings>,
    pub caller: BTreeMap<String, CallerSettings>,
    pub model: BTreeMap<String, ModelSettings>,
    pub engines: EngineOptions,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelSettings {
    pub max_batch: usize,
    pub queue_rows: usize,
    pub objective_ms: u64,
    pub wait_us: u64,
    pub versions: Versions,
    pub provider: Provider,
    /// What the decision log keeps of its inputs; what the log's settings say if it says nothing.
    pub log_inputs: Option<LoggedInputs>,
}

impl Default for Config {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            models: PathBuf::new(),
            grpc: "127.0.0.1:8001".into(),
            http: "127.0.0.1:8002".into(),
            admin: "127.0.0.1:8003".into(),
            io_threads: (cores / 2).max(1),
            io_model: IoModel::PerThread,
            io_spin_us: 50,
            lanes: 1,
            tokenizer_threads: 1,
            max_message_bytes: 4 << 20,
            max_connections: 4_096,
            max_streams: 0,
            drain_seconds: 10,
            lame_duck_seconds: 0,
            watch_seconds: 0,
            compat: Compat::None,
            repository_calls: RepositoryCalls::Local,
            max_unread_bytes: 256 << 20,
            control_socket: PathBuf::new(),
            telemetry: TelemetrySettings::default(),
            governance: None,
            decision_log: None,
            tls: None,
            caller: BTreeMap::new(),
            model: BTreeMap::new(),
            engines: EngineOptions::new(),
        }
    }
}

impl Default for ModelSettings {
    fn default() -> Self {
        Self {
            max_batch: 256,
            queue_rows: 16_384,
            objective_ms: 1_000,
            wait_us: 0,
            versions: Versions::default(),
            provider: Provider::default(),
            log_inputs: None,
        }
    }
}

impl ModelSettings {
    pub fn objective(&self) -> Ticks {
        self.objective_ms.saturating_mul(MILLIS)
    }

    pub fn wait(&self) -> Ticks {
        self.wait_us.saturating_mul(MICROS)
    }
}

impl Config {
    pub fn io_spin(&self) -> Ticks {
        self.io_spin_us.saturating_mul(MICROS)
    }

    /// Reads a configuration; the error is a sentence that names the key and the line.
    pub fn parse(text: &str) -> Result<Self, String> {
        let config: Self = toml::from_str(text).map_err(sentence)?;
        config.check()?;
        Ok(config)
    }

    /// A file's text with top-level keys of `defaults` put under it and of `overrides` over it, all
    /// TOML: flags win.
    pub fn merged(defaults: &str, text: &str, overrides: &str) -> Result<Self, String> {
        // The file alone first, so that an error in it names its own line.
        let _: Self = toml::from_str(text).map_err(sentence)?;
        let mut merged: toml::Table = toml::from_str(defaults).map_err(sentence)?;
        for over in [text, overrides] {
            merged.extend(toml::from_str::<toml::Table>(over).map_err(sentence)?);
        }
        let config: Self = merged.try_into().map_err(sentence)?;
        config.check()?;
        Ok(config)
    }

    pub fn check(&self) -> Result<(), String> {
        let positive = [
            ("io_threads", self.io_threads, 256),
            ("lanes", self.lanes, 256),
            ("tokenizer_threads", self.tokenizer_threads, 256),
            ("max_message_bytes", self.max_message_bytes, 1 << 30),
            ("max_connections", self.max_connections, 1 << 20),
            ("max_unread_bytes", self.max_unread_bytes, 1 << 40),
        ];
        for (key, value, most) in positive {
            if value == 0 || value > most {
                return Err(format!("{key} is {value}, it must be between 1 and {most}"));
            }
        }
        let limited = [
            ("io_spin_us", self.io_spin_us, 10_000),
            ("drain_seconds", self.drain_seconds, 3_600),
            ("lame_duck_seconds", self.lame_duck_seconds, 3_600),
            ("watch_seconds", self.watch_seconds, 86_400),
        ];
        for (key, value, most) in limited {
            if value > most {
                return Err(format!("{key} is {value}, it must be at most {most}"));
            }
        }
        if !(0.0..=1.0).contains(&self.telemetry.trace_ratio) {
            return Err(format!(
                "[telemetry] trace_ratio is {}, it must be between 0 and 1",
                self.telemetry.trace_ratio
            ));
        }
        if self.telemetry.export_seconds == 0 {
            return Err("[telemetry] export_seconds must be at least 1".into());
        }
        if self.caller.len() > 10_000 {
            return Err("there are more than 10000 callers".into());
        }
        for (name, settings) in &self.caller {
            settings.check(name)?;
        }
        if let Some(governance) = &self.governance {
            governance.check()?;
        }
        if let Some(log) = &self.decision_log {
            let own = self.model.values().filter_map(|m| m.log_inputs);
            log.check(own.chain([log.inputs]).any(|i| i == LoggedInputs::Hash))?;
        }
        for (name, settings) in &self.model {
            if settings.log_inputs.is_some() && self.decision_log.is_none() {
                return Err(format!("[model.{name}] log_inputs needs [decision_log]"));
            }
            if settings.wait_us > 1_000_000 {
                let wait = settings.wait_us;
                return Err(format!(
                    "[model.{name}] wait_us is {wait}, it must be at most 1000000"
                ));
            }
            if settings.queue_rows < settings.max_batch {
                return Err(format!("[model.{name}] queue_rows is less than max_batch"));
            }
            let values = [
                ("max_batch", settings.max_batch, 4_096),
                ("queue_rows", settings.queue_rows, 1 << 24),
                (
                    "objective_ms",
                    usize::try_from(settings.objective_ms).unwrap_or(0),
                    1 << 24,
                ),
            ];
            for (key, value, most) in values {
                if value == 0 || value > most {
                    return Err(format!(
                        "[model.{name}] {key} is {value}, it must be between 1 and {most}"
                    ));
                }
            }
        }
        Ok(())
    }

    /// Keys that differ and are read only at start.
    pub fn fixed_keys_changed(&self, other: &Self) -> Vec<&'static str> {
        let same = [
            ("models", self.models == other.models),
            ("grpc", self.grpc == other.grpc),
            ("http", self.http == other.http),
            ("io_threads", self.io_threads == other.io_threads),
            ("io_model", self.io_model == other.io_model),
            ("io_spin_us", self.io_spin_us == other.io_spin_us),
            ("lanes", self.lanes == other.lanes),
            (
                "tokenizer_threads",
                self.tokenizer_threads == other.tokenizer_threads,
            ),
            (
                "max_message_bytes",
                self.max_message_bytes == other.max_message_bytes,
            ),
            (
                "max_connections",
                self.max_connections == other.max_connections,
            ),
            ("max_streams", self.max_streams == other.max_streams),
            ("drain_seconds", self.drain_seconds == other.drain_seconds),
            (
                "lame_duck_seconds",
                self.lame_duck_seconds == other.lame_duck_seconds,
            ),
            (
                "control_socket",
                self.control_socket == other.control_socket,
            ),
            ("telemetry", self.telemetry == other.telemetry),
            ("governance", self.governance == other.governance),
            ("decision_log", self.decision_log == other.decision_log),
            ("admin", self.admin == other.admin),
            ("compat", self.compat == other.compat),
            (
                "repository_calls",
                self.repository_calls == other.repository_calls,
            ),
        ];
        same.into_iter()
            .filter(|(_, same)| !same)
            .map(|(key, _)| key)
            .collect()
    }

    pub fn settings(&self, model: &str) -> ModelSettings {
        self.model.get(model).cloned().unwrap_or_default()
    }
}

/// An error of the file as a sentence, with the nearest key to one that is unknown.
fn sentence(error: toml::de::Error) -> String {
    let text = error.to_string().trim_end().to_owned();
    let mut quoted = error.message().split('`').skip(1).step_by(2);
    let unknown = quoted
        .next()
        .filter(|_| error.message().starts_with("unknown field"));
    let nearest = unknown.and_then(|unknown| {
        quoted
            .map(|known| (strsim::damerau_levenshtein(unknown, known), known))
            .filter(|(distance, known)| *distance <= known.len().div_ceil(2))
            .min()
    });
    match nearest {
        Some((_, known)) => format!("{text}; did you mean '{known}'?"),
        None => text,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_is_the_default() {
        assert_eq!(Config::parse("").unwrap(), Config::default());
    }

    #[test]
    fn an_unknown_key_is_named_with_the_known_ones() {
        let error = Config::parse("io_thread = 2").unwrap_err();
        assert!(
            error.contains("io_thread") && error.contains("did you mean 'io_threads'?"),
            "{error}"
        );
        let error = Config::parse("qqqqqqqqqqqqq = 2").unwrap_err();
        assert!(error.contains("qqqq") && !error.contains("mean"), "{error}");
        let error = Config::parse("[model.m]\nmax_bach = 2").unwrap_err();
        assert!(
            error.contains("max_bach") && error.contains("line 2"),
            "{error}"
        );
    }

    #[test]
    fn a_flag_wins_over_the_file_and_leaves_the_rest() {
        let config = Config::merged(
            "drain_seconds = 7",
            "lanes = 2\nio_threads = 3",
            "lanes = 4",
        )
        .unwrap();
        let read = (config.lanes, config.io_threads, config.drain_seconds);
        assert_eq!(read, (4, 3, 7));
        assert!(
            Config::merged("", "lane = 2", "")
                .unwrap_err()
                .contains("line 1")
        );
    }

    #[test]
    fn a_value_out_of_range_is_named() {
        assert!(
            Config::parse("lanes = 0")
                .unwrap_err()
                .contains("lanes is 0")
        );
        let error = Config::parse("[model.m]\nmax_batch = 0").unwrap_err();
        assert!(error.contains("[model.m] max_batch is 0"), "{error}");
    }

    #[test]
    fn versions_are_said_in_one_of_four_ways() {
        let picked = |said: &str| {
            let config = Config::parse(&format!("[model.m]\nversions = {said}"))?;
            Ok::<_, String>(config.settings("m").versions.pick(&[1, 3, 10]))
        };
        assert_eq!(picked("\"latest\""), Ok(vec![10]));
        assert_eq!(picked("\"all\""), Ok(vec![1, 3, 10]));
        assert_eq!(picked("2"), Ok(vec![3, 10]));
        assert_eq!(picked("9"), Ok(vec![1, 3, 10]));
        assert_eq!(picked("[3, 4]"), Ok(vec![3]));
        for wrong in ["\"newest\"", "0", "[]", "true"] {
            assert!(
                picked(wrong).unwrap_err().contains("expected \"latest\""),
                "{wrong}"
            );
        }
    }

    #[test]
    fn a_caller_must_be_known_by_something() {
        let refused = |text: &str| Config::parse(&format!("[caller.x]\n{text}")).unwrap_err();
        assert!(refused("share = 1").contains("[caller.x] needs 'certificate' or"));
        assert!(refused("token_sha256 = \"abc\"").contains("64 hexadecimal digits"));
        assert!(refused("certificate = \"a\"\nshare = 0").contains("share is 0"));
        let error = refused("certificat = \"a\"");
        assert!(error.contains("did you mean 'certificate'?"), "{error}");
    }

    #[test]
    fn settings_of_a_model_fall_back_one_by_one() {
        let config = Config::parse("[model.m]\nmax_batch = 8").unwrap();
        assert_eq!(config.settings("m").max_batch, 8);
        assert_eq!(config.settings("m").objective_ms, 1_000);
        assert_eq!(config.settings("other"), ModelSettings::default());
    }
}
