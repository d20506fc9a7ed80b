//! A repository: NAME/N/ folders, and which of them to load.

use std::fs;
use std::path::{Path, PathBuf};

/// One version of one model, not yet looked into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    pub name: String,
    pub version: u64,
    pub path: PathBuf,
}

/// A model's name: letters, digits, `.`, `_` and `-`, 1 to 128 of them, not starting with a dot.
pub fn is_name(name: &str) -> bool {
    (1..=128).contains(&name.len())
        && !name.starts_with('.')
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

fn version_number(name: &str) -> Option<u64> {
    let number: u64 = name.parse().ok()?;
    (number > 0 && number.to_string() == name).then_some(number)
}

/// Every version in the repository, by name and version. Hidden entries are passed over; a folder
/// that is neither a name nor a version is an error, since it may be a typing mistake.
pub fn scan(root: &Path) -> Result<Vec<Version>, String> {
    let mut found = Vec::new();
    for (name, path) in folders(root)? {
        if !is_name(&name) {
            return Err(format!(
                "'{name}' is not a model's name (letters, digits, '.', '_', '-')"
            ));
        }
        for (number, path) in folders(&path)? {
            let version = version_number(&number)
                .ok_or_else(|| format!("'{name}/{number}' is not a version (1, 2, 3, …)"))?;
            found.push(Version {
                name: name.clone(),
                version,
                path,
            });
        }
    }
    found.sort_by(|a, b| (&a.name, a.version).cmp(&(&b.name, b.version)));
    Ok(found)
}

fn folders(root: &Path) -> Result<Vec<(String, PathBuf)>, String> {
    let entries = fs::read_dir(root).map_err(|e| format!("{}: {e}", root.display()))?;
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|e| format!("{}: {e}", root.display()))?;
        let name = entry.file_name();
        let name = name
            .to_str()
            .ok_or_else(|| format!("{name:?}: the name is not UTF-8"))?;
        let kind = entry.file_type().map_err(|e| format!("{name}: {e}"))?;
        if name.starts_with('.') {
            continue;
        }
        if kind.is_symlink() {
            return Err(format!("'{}' is a symbolic link", entry.path().display()));
        }
        if kind.is_dir() {
            found.push((name.to_owned(), entry.path()));
        }
    }
    Ok(found)
}

/// The newest version of each model.
pub fn latest(versions: Vec<Version>) -> Vec<Version> {
    let mut newest: Vec<Version> = Vec::new();
    for version in versions {
        match newest.last_mut() {
            Some(last) if last.name == version.name => *last = version,
            _ => newest.push(version),
        }
    }
    newest
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_version_is_the_largest_number_not_the_last_word() {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["b/9", "b/10", "a/1", ".hidden/x"] {
            fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        let newest = latest(scan(dir.path()).unwrap());
        let names: Vec<_> = newest
            .iter()
            .map(|v| (v.name.as_str(), v.version))
            .collect();
        assert_eq!(names, [("a", 1), ("b", 10)]);
    }

    #[test]
    fn a_link_is_refused_and_not_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("a/1")).unwrap();
        std::os::unix::fs::symlink(dir.path().join("a/1"), dir.path().join("a/2")).unwrap();
        assert!(scan(dir.path()).unwrap_err().contains("symbolic link"));
    }

    #[test]
    fn a_folder_that_is_no_version_is_an_error() {
        for folder in ["a/01", "a/x", "a/0", "a b/1"] {
            let dir = tempfile::tempdir().unwrap();
            fs::create_dir_all(dir.path().join(folder)).unwrap();
            assert!(scan(dir.path()).is_err(), "{folder}");
        }
    }
}
