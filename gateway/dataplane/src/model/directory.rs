//! The model directory: every byte listed in the manifest and checked against it. What is loaded
//! is what was checked, because files are read once and kept in memory.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::contract::Contract;

pub const FORMAT: &str = "sluicegate.model/1";
pub const MANIFEST: &str = "manifest.json";
pub const CONTRACT: &str = "contract.toml";
/// A manifest lists files, not data: anything larger is not one.
const MANIFEST_LIMIT: u64 = 1 << 20;

/// Keys stand in alphabetical order, so that serde writes the canonical form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    path: String,
    sha256: String,
    size: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    files: Vec<Entry>,
    format: String,
}

/// A model directory whose every byte has been checked, with the bytes.
#[derive(Debug)]
pub struct VerifiedModel {
    pub path: PathBuf,
    /// `sha256:` and the hex SHA-256 of the manifest.
    pub digest: String,
    pub contract: Contract,
    files: BTreeMap<String, Vec<u8>>,
}

impl VerifiedModel {
    /// The bytes that were verified.
    pub fn file(&self, name: &str) -> Result<&[u8], String> {
        let bytes = self.files.get(name);
        bytes
            .map(Vec::as_slice)
            .ok_or_else(|| format!("file '{name}' is not in the manifest"))
    }

    /// Every file but the manifest, by path.
    pub fn files(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let files = self.files.iter();
        files.map(|(path, bytes)| (path.as_str(), bytes.as_slice()))
    }

    /// Sizes of the files by path, the manifest left out.
    pub fn sizes(&self) -> impl Iterator<Item = (&str, u64)> {
        self.files
            .iter()
            .map(|(path, bytes)| (path.as_str(), bytes.len() as u64))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// `sha256:` and the hex SHA-256 of a manifest's bytes.
fn digest_of(manifest: &[u8]) -> String {
    format!("sha256:{}", hex(&Sha256::digest(manifest)))
}

/// Reads a regular file without following a link at its end.
fn read_regular(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let options_flags = libc::O_NOFOLLOW | libc::O_CLOEXEC | libc::O_NONBLOCK;
    let file = File::options()
        .read(true)
        .custom_flags(options_flags)
        .open(path)?;
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    if meta.len() > limit {
        return Err(io::Error::other(format!(
            "{} bytes, at most {limit} allowed",
            meta.len()
        )));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(meta.len()).unwrap_or(0));
    file.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(io::Error::other("the file grew while it was read"));
    }
    Ok(bytes)
}

/// Every regular file under `root` by its relative path; anything else is refused.
fn list_files(root: &Path) -> Result<Vec<String>, String> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        let at = root.join(&folder);
        let entries = fs::read_dir(&at).map_err(|e| format!("{}: {e}", at.display()))?;
        for entry in entries {
            let entry = entry.map_err(|e| format!("{}: {e}", at.display()))?;
            let relative = folder.join(entry.file_name());
            let kind = entry
                .file_type()
                .map_err(|e| format!("{}: {e}", relative.display()))?;
            if kind.is_dir() {
                folders.push(relative);
            } else if kind.is_file() {
                let name = relative.to_str();
                found.push(
                    name.ok_or_else(|| format!("{relative:?}: the name is not UTF-8"))?
                        .into(),
                );
            } else {
                let what = if kind.is_symlink() {
                    "a symbolic link"
                } else {
                    "not a regular file"
                };
                return Err(format!(
                    "'{}' is {what}; only regular files are allowed",
                    relative.display()
                ));
            }
        }
    }
    found.sort();
    Ok(found)
}

fn is_plain_relative(path: &str) -> bool {
    !path.is_empty()
        && !path.contains('\\')
        && Path::new(path)
            .components()
            .all(|c| matches!(c, Component::Normal(_)))
        && Path::new(path).components().count() == path.split('/').count()
}

fn canonical(manifest: &Manifest) -> Result<Vec<u8>, String> {
    serde_json::to_vec(manifest).map_err(|e| e.to_string())
}

fn parse_manifest(bytes: &[u8]) -> Result<Manifest, String> {
    let manifest: Manifest =
        serde_json::from_slice(bytes).map_err(|e| format!("{MANIFEST}: {e}"))?;
    if manifest.format != FORMAT {
        return Err(format!(
            "{MANIFEST}: format is '{}', expected '{FORMAT}'",
            manifest.format
        ));
    }
    for pair in manifest.files.windows(2) {
        if pair[0].path >= pair[1].path {
            return Err(format!(
                "{MANIFEST}: '{}' is out of order or twice there",
                pair[1].path
            ));
        }
    }
    if let Some(bad) = manifest.files.iter().find(|f| !is_plain_relative(&f.path)) {
        return Err(format!(
            "{MANIFEST}: '{}' is not a plain relative path",
            bad.path
        ));
    }
    if canonical(&manifest)? != bytes {
        return Err(format!(
            "{MANIFEST} is not in canonical form (keys sorted, no white space, no line feed at the end)"
        ));
    }
    Ok(manifest)
}

/// The digest that a model directory claims by its manifest; nothing else of it is looked at.
pub fn claimed_digest(path: &Path) -> Result<String, String> {
    let manifest = read_regular(&path.join(MANIFEST), MANIFEST_LIMIT);
    Ok(digest_of(
        &manifest.map_err(|e| format!("{MANIFEST}: {e}"))?,
    ))
}

/// Checks every byte of a model directory and returns what was checked.
///
/// Refused: a manifest that is not canonical, a file that differs in size or digest, a file that
/// is missing or unlisted, a link or other special file, a contract that does not hold together.
pub fn verify(path: &Path) -> Result<VerifiedModel, String> {
    let manifest_bytes = read_regular(&path.join(MANIFEST), MANIFEST_LIMIT)
        .map_err(|e| format!("{MANIFEST}: {e}"))?;
    let manifest = parse_manifest(&manifest_bytes)?;
    let present = list_files(path)?;
    let listed = |name: &str| manifest.files.iter().any(|f| f.path == name);
    if let Some(extra) = present
        .iter()
        .find(|name| *name != MANIFEST && !listed(name))
    {
        return Err(format!("'{extra}' is not listed in the manifest"));
    }
    let mut files = BTreeMap::new();
    for entry in &manifest.files {
        let bytes = read_regular(&path.join(&entry.path), entry.size.max(1))
            .map_err(|e| format!("'{}': {e}", entry.path))?;
        if bytes.len() as u64 != entry.size {
            let (is, expected) = (bytes.len(), entry.size);
            return Err(format!(
                "'{}' has {is} bytes, the manifest says {expected}",
                entry.path
            ));
        }
        let is = hex(&Sha256::digest(&bytes));
        if is != entry.sha256 {
            return Err(format!(
                "'{}' has SHA-256 {is}, the manifest says {}: the file was changed",
                entry.path, entry.sha256
            ));
        }
        files.insert(entry.path.clone(), bytes);
    }
    let text = files
        .get(CONTRACT)
        .ok_or_else(|| format!("{CONTRACT} is missing"))?;
    let text = std::str::from_utf8(text).map_err(|_| format!("{CONTRACT} is not UTF-8"))?;
    let contract = Contract::parse(text)?;
    if let Some(graph) = contract.graph.as_ref().filter(|g| !files.contains_key(*g)) {
        return Err(format!(
            "{CONTRACT} names graph '{graph}', which is not there"
        ));
    }
    if let Some(text) = contract
        .text
        .as_ref()
        .filter(|t| !files.contains_key(&t.tokenizer))
    {
        return Err(format!(
            "{CONTRACT} names tokenizer '{}', which is not there",
            text.tokenizer
        ));
    }
    Ok(VerifiedModel {
        path: path.into(),
        digest: digest_of(&manifest_bytes),
        contract,
        files,
    })
}

/// Writes a folder's manifest and returns the digest.
pub fn seal(path: &Path) -> Result<String, String> {
    let mut files = Vec::new();
    for name in list_files(path)? {
        if name == MANIFEST {
            continue;
        }
        let bytes =
            read_regular(&path.join(&name), u64::MAX - 1).map_err(|e| format!("'{name}': {e}"))?;
        let sha256 = hex(&Sha256::digest(&bytes));
        files.push(Entry {
            path: name,
            sha256,
            size: bytes.len() as u64,
        });
    }
    let bytes = canonical(&Manifest {
        files,
        format: FORMAT.into(),
    })?;
    fs::write(path.join(MANIFEST), &bytes).map_err(|e| format!("{MANIFEST}: {e}"))?;
    Ok(digest_of(&bytes))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const CONTRACT_TEXT: &str = r#"
format = "sluicegate.contract/1"
engine = "identity"
inputs = [{ name = "x", datatype = "FP32", shape = [-1, 4] }]
outputs = [{ name = "y", datatype = "FP32", shape = [-1, 4] }]
"#;

    fn model() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(CONTRACT), CONTRACT_TEXT).unwrap();
        fs::create_dir(dir.path().join("extra")).unwrap();
        fs::write(dir.path().join("extra/notes.txt"), "seen by nobody").unwrap();
        seal(dir.path()).unwrap();
        dir
    }

    fn refusal(dir: &tempfile::TempDir) -> String {
        verify(dir.path()).unwrap_err()
    }

    #[test]
    fn a_sealed_directory_verifies_and_its_digest_is_that_of_the_manifest() {
        let dir = model();
        let verified = verify(dir.path()).unwrap();
        let manifest = fs::read(dir.path().join(MANIFEST)).unwrap();
        assert_eq!(
            verified.digest,
            format!("sha256:{}", hex(&Sha256::digest(manifest)))
        );
        assert_eq!(verified.file("extra/notes.txt").unwrap(), b"seen by nobody");
    }

    #[test]
    fn any_flipped_byte_of_any_file_is_refused() {
        let dir = model();
        for name in [CONTRACT, "extra/notes.txt", MANIFEST] {
            let path = dir.path().join(name);
            let good = fs::read(&path).unwrap();
            for at in 0..good.len() {
                let mut bad = good.clone();
                bad[at] ^= 1;
                fs::write(&path, &bad).unwrap();
                assert!(verify(dir.path()).is_err(), "{name} byte {at}");
            }
            fs::write(&path, &good).unwrap();
        }
        assert!(verify(dir.path()).is_ok());
    }

    #[test]
    fn an_unlisted_file_a_missing_file_and_a_link_are_refused_by_name() {
        let dir = model();
        fs::write(dir.path().join("more.bin"), "x").unwrap();
        assert!(refusal(&dir).contains("'more.bin' is not listed"));
        fs::remove_file(dir.path().join("more.bin")).unwrap();

        std::os::unix::fs::symlink("/etc/hostname", dir.path().join("link")).unwrap();
        assert!(refusal(&dir).contains("'link' is a symbolic link"));
        fs::remove_file(dir.path().join("link")).unwrap();

        let notes = dir.path().join("extra/notes.txt");
        fs::remove_file(&notes).unwrap();
        assert!(refusal(&dir).contains("extra/notes.txt"));
        std::os::unix::fs::symlink(dir.path().join(CONTRACT), &notes).unwrap();
        assert!(refusal(&dir).contains("symbolic link"));
    }

    #[test]
    fn a_manifest_that_says_the_same_in_another_form_is_refused() {
        let dir = model();
        let path = dir.path().join(MANIFEST);
        let text = fs::read_to_string(&path).unwrap();
        for other in [
            format!("{text}\n"),
            text.replacen(':', ": ", 1),
            text.replacen("{", "{\"x\":1,", 1),
        ] {
            fs::write(&path, other).unwrap();
            assert!(refusal(&dir).contains(MANIFEST));
        }
    }

    #[test]
    fn a_path_that_leaves_the_directory_is_refused() {
        for path in [
            "../x",
            "/etc/passwd",
            "a/../b",
            "a//b",
            "./a",
            "",
            "a\\b",
            "a/",
        ] {
            assert!(!is_plain_relative(path), "{path}");
        }
        assert!(is_plain_relative("tokenizer/vocab.txt"));
    }
}
