//! `[decision_log]`: which answers are written down, where, and for how long they are kept.

use std::path::PathBuf;

use serde::Deserialize;

/// What the decision log keeps of a request's inputs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LoggedInputs {
    All,
    /// A keyed hash of each row: equal inputs can be told, and nothing else.
    Hash,
    #[default]
    None,
}

/// `[decision_log]`; without it nothing is logged.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DecisionLogSettings {
    pub folder: PathBuf,
    /// The share of request ids that are logged.
    #[serde(default = "tenth")]
    pub share: f64,
    /// Of models that say nothing themselves (`[model.NAME] log_inputs`).
    #[serde(default)]
    pub inputs: LoggedInputs,
    /// Read whenever a file is begun; 32 bytes or more.
    #[serde(default)]
    pub key_file: PathBuf,
    /// A file that has grown so large, or so old, is closed.
    #[serde(default = "file_mib")]
    pub file_mib: u64,
    #[serde(default = "file_seconds")]
    pub file_seconds: u64,
    /// Files that are older, and the oldest beyond so much in all, are deleted.
    #[serde(default = "keep_days")]
    pub keep_days: u64,
    #[serde(default = "keep_mib")]
    pub keep_mib: u64,
    /// Rows that wait to be written.
    #[serde(default = "buffer_mib")]
    pub buffer_mib: usize,
}

fn tenth() -> f64 {
    0.1
}

fn file_mib() -> u64 {
    64
}

fn file_seconds() -> u64 {
    300
}

fn keep_days() -> u64 {
    30
}

fn keep_mib() -> u64 {
    10_240
}

fn buffer_mib() -> usize {
    32
}

impl DecisionLogSettings {
    /// `hashed`: whether some model's inputs are to be hashed.
    pub(super) fn check(&self, hashed: bool) -> Result<(), String> {
        let refused = |text: String| Err(format!("[decision_log] {text}"));
        if self.folder.as_os_str().is_empty() {
            return refused("folder is empty".into());
        }
        if !(self.share > 0.0 && self.share <= 1.0) {
            let share = self.share;
            return refused(format!(
                "share is {share}, it must be more than 0 and at most 1"
            ));
        }
        if hashed && self.key_file.as_os_str().is_empty() {
            return refused("key_file is needed where inputs are kept as \"hash\"".into());
        }
        let limited = [
            ("file_mib", self.file_mib, 4_096),
            ("file_seconds", self.file_seconds, 86_400),
            ("keep_days", self.keep_days, 36_500),
            ("keep_mib", self.keep_mib, 1 << 30),
            ("buffer_mib", self.buffer_mib as u64, 1_024),
        ];
        for (key, value, most) in limited {
            if value == 0 || value > most {
                return refused(format!("{key} is {value}, it must be between 1 and {most}"));
            }
        }
        if self.keep_mib < self.file_mib {
            return refused("keep_mib is less than file_mib".into());
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn refusal(rest: &str) -> String {
        Config::parse(&format!("[decision_log]\nfolder = \"log\"\n{rest}")).unwrap_err()
    }

    #[test]
    fn a_folder_is_all_that_is_needed_and_no_inputs_are_kept_then() {
        let config = Config::parse("[decision_log]\nfolder = \"log\"").unwrap();
        let log = config.decision_log.unwrap();
        assert_eq!((log.share, log.inputs), (0.1, LoggedInputs::None));
        assert_eq!(Config::parse("").unwrap().decision_log, None);
        assert!(
            Config::parse("[decision_log]")
                .unwrap_err()
                .contains("folder")
        );
    }

    #[test]
    fn bad_values_are_named_with_what_they_may_be() {
        assert!(refusal("share = 0").contains("[decision_log] share is 0"));
        assert!(refusal("share = 1.5").contains("at most 1"));
        assert!(refusal("file_seconds = 0").contains("file_seconds is 0"));
        assert!(refusal("keep_mib = 8").contains("less than file_mib"));
        assert!(refusal("shares = 1.0").contains("did you mean 'share'?"));
        assert!(refusal("inputs = \"some\"").contains("hash"));
    }

    #[test]
    fn hashes_need_a_key_whoever_asks_for_them() {
        for hashed in ["inputs = \"hash\"", "[model.m]\nlog_inputs = \"hash\""] {
            assert!(refusal(hashed).contains("key_file is needed"), "{hashed}");
        }
        let alone = Config::parse("[model.m]\nlog_inputs = \"all\"").unwrap_err();
        assert!(
            alone.contains("[model.m] log_inputs needs [decision_log]"),
            "{alone}"
        );
    }
}
