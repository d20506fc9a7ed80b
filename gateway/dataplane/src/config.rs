//! sluicegate.toml and what flags put over it. An unknown key is refused by name.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

use crate::clock::{MICROS, MILLIS, Ticks};

/// Which runtimes speak gRPC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IoModel {
    /// One single-threaded runtime a thread; a connection stays on its thread.
    PerThread,
    /// One work-stealing runtime over all threads; kept to be measured against.
    WorkStealing,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    pub models: PathBuf,
    pub grpc: String,
    pub http: String,
    pub io_threads: usize,
    pub io_model: IoModel,
    pub io_spin_us: u64,
    pub lanes: usize,
    pub max_message_bytes: usize,
    pub drain_seconds: u64,
    pub model: BTreeMap<String, ModelSettings>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelSettings {
    pub max_batch: usize,
    pub queue_rows: usize,
    pub objective_ms: u64,
    pub wait_us: u64,
}

impl Default for Config {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            models: PathBuf::new(),
            grpc: "127.0.0.1:8001".into(),
            http: "127.0.0.1:8002".into(),
            io_threads: (cores / 2).max(1),
            io_model: IoModel::PerThread,
            io_spin_us: 50,
            lanes: 1,
            max_message_bytes: 4 << 20,
            drain_seconds: 10,
            model: BTreeMap::new(),
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
        let config: Self = toml::from_str(text).map_err(|e| e.to_string().trim_end().to_owned())?;
        config.check()?;
        Ok(config)
    }

    /// A file's text with top-level keys of `overrides` (also TOML) put over it: flags win.
    pub fn with_overrides(text: &str, overrides: &str) -> Result<Self, String> {
        let sentence = |e: toml::de::Error| e.to_string().trim_end().to_owned();
        // The file alone first, so that an error in it names its own line.
        let _: Self = toml::from_str(text).map_err(sentence)?;
        let mut merged: toml::Table = toml::from_str(text).map_err(sentence)?;
        merged.extend(toml::from_str::<toml::Table>(overrides).map_err(sentence)?);
        let config: Self = merged.try_into().map_err(sentence)?;
        config.check()?;
        Ok(config)
    }

    pub fn check(&self) -> Result<(), String> {
        let positive = [
            ("io_threads", self.io_threads, 256),
            ("lanes", self.lanes, 256),
            ("max_message_bytes", self.max_message_bytes, 1 << 30),
        ];
        for (key, value, most) in positive {
            if value == 0 || value > most {
                return Err(format!("{key} is {value}, it must be between 1 and {most}"));
            }
        }
        if self.io_spin_us > 10_000 {
            return Err(format!(
                "io_spin_us is {}, it must be at most 10000",
                self.io_spin_us
            ));
        }
        if self.drain_seconds > 3_600 {
            return Err(format!(
                "drain_seconds is {}, it must be at most 3600",
                self.drain_seconds
            ));
        }
        for (name, settings) in &self.model {
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

    pub fn settings(&self, model: &str) -> ModelSettings {
        self.model.get(model).cloned().unwrap_or_default()
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
            error.contains("io_thread") && error.contains("io_threads"),
            "{error}"
        );
        let error = Config::parse("[model.m]\nmax_bach = 2").unwrap_err();
        assert!(
            error.contains("max_bach") && error.contains("line 2"),
            "{error}"
        );
    }

    #[test]
    fn a_flag_wins_over_the_file_and_leaves_the_rest() {
        let config = Config::with_overrides("lanes = 2\nio_threads = 3", "lanes = 4").unwrap();
        assert_eq!((config.lanes, config.io_threads), (4, 3));
        assert!(
            Config::with_overrides("lane = 2", "")
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
    fn settings_of_a_model_fall_back_one_by_one() {
        let config = Config::parse("[model.m]\nmax_batch = 8").unwrap();
        assert_eq!(config.settings("m").max_batch, 8);
        assert_eq!(config.settings("m").objective_ms, 1_000);
        assert_eq!(config.settings("other"), ModelSettings::default());
    }
}
