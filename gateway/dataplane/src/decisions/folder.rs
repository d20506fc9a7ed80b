//! The log's folder: names of files, what a killed server left, what is deleted.

use std::fs;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use arrow_ipc::reader::StreamReader;

use super::file::File;
use super::{Counters, Kind, wall_ns};
use crate::trace::random;

const SUFFIX: &str = ".arrow";
const PARTIAL: &str = ".arrow.partial";
/// What stands before an Arrow file's first message.
const MAGIC: &[u8; 8] = b"ARROW1\0\0";

/// A new file's name: its kind, ms since 1970, and a number by chance, as many may write here.
pub fn name(kind: Kind) -> String {
    let (kind, ms, chance) = (kind.word(), wall_ns() / 1_000_000, random() >> 32);
    format!("{kind}-{ms:013}-{chance:08x}{SUFFIX}")
}

/// What it is called until it is whole.
pub fn partial(path: &Path) -> PathBuf {
    path.with_extension("arrow.partial")
}

/// The kind of one of our own files.
fn kind(name: &str, suffix: &str) -> Option<Kind> {
    let (word, rest) = name.strip_suffix(suffix)?.split_once('-')?;
    let ours = |c: char| c.is_ascii_hexdigit() || c == '-';
    let kind = Kind::ALL.into_iter().find(|k| k.word() == word);
    kind.filter(|_| rest.chars().all(ours))
}

fn files(root: &Path, suffix: &str) -> io::Result<Vec<(Kind, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        if let Some(kind) = entry.file_name().to_str().and_then(|n| kind(n, suffix)) {
            found.push((kind, entry.path()));
        }
    }
    Ok(found)
}

pub fn is_writable(root: &Path) -> io::Result<()> {
    let path = root.join(format!(".probe-{:016x}", random()));
    fs::File::create_new(&path)?;
    fs::remove_file(path)
}

/// Makes whole files of what servers left that were killed; the files.
pub fn recover(root: &Path, counters: &Counters) -> io::Result<Vec<PathBuf>> {
    let mut whole = Vec::new();
    for (kind, path) in files(root, PARTIAL)? {
        let file = fs::File::open(&path)?;
        // Whoever writes it holds its lock.
        if file.try_lock().is_err() {
            continue;
        }
        if let Some(saved) = save(root, kind, file, counters)? {
            whole.push(saved);
        }
        fs::remove_file(path)?;
    }
    Ok(whole)
}

/// Copies every batch that is whole; `None` if there is none.
fn save(
    root: &Path,
    kind: Kind,
    file: fs::File,
    counters: &Counters,
) -> io::Result<Option<PathBuf>> {
    let mut bytes = BufReader::new(file);
    let mut magic = [0; MAGIC.len()];
    if bytes.read_exact(&mut magic).is_err() || magic != *MAGIC {
        return Ok(None);
    }
    // Behind the magic an Arrow file is a stream, as long as it has no footer.
    let Ok(stream) = StreamReader::try_new(bytes, None) else {
        return Ok(None);
    };
    let schema = stream.schema();
    let mut copy: Option<File> = None;
    for batch in stream {
        let Ok(batch) = batch else {
            break;
        };
        let file = match &mut copy {
            Some(file) => file,
            none => none.insert(File::create(root, kind, &schema, counters)?),
        };
        file.write(&batch)?;
    }
    let Some(mut copy) = copy else {
        return Ok(None);
    };
    copy.finish()?;
    Ok(Some(copy.path().to_owned()))
}

/// Deletes files that are older than `age`, and the oldest until the others are at most `bytes`;
/// how many.
pub fn retire(root: &Path, age: Duration, bytes: u64) -> io::Result<u64> {
    let mut found = Vec::new();
    for (_, path) in files(root, SUFFIX)? {
        // Somebody else may have deleted it since.
        if let Ok(told) = fs::metadata(&path) {
            found.push((told.modified()?, told.len(), path));
        }
    }
    found.sort();
    let mut total: u64 = found.iter().map(|(_, size, _)| size).sum();
    let mut deleted = 0;
    for (modified, size, path) in found {
        let since = SystemTime::now().duration_since(modified);
        if total <= bytes && since.unwrap_or_default() <= age {
            break;
        }
        total -= size;
        match fs::remove_file(path) {
            Ok(()) => deleted += 1,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
    }
    Ok(deleted)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn put(root: &Path, name: &str, bytes: usize, days_ago: u64) -> PathBuf {
        let path = root.join(name);
        fs::write(&path, vec![0; bytes]).unwrap();
        let when = SystemTime::now() - Duration::from_secs(days_ago * 86_400);
        let file = fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(when).unwrap();
        path
    }

    #[test]
    fn the_oldest_files_go_first_and_no_others() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let old = put(root, "decisions-1-a.arrow", 10, 9);
        let middle = put(root, "feedback-2-b.arrow", 10, 3);
        let new = put(root, "shadow-3-c.arrow", 10, 1);
        let others = [
            put(root, "decisions-of-mine.arrow", 10, 99),
            put(root, "notes.txt", 10, 99),
            put(root, "decisions-1-a.arrow.partial", 10, 99),
        ];
        let day = Duration::from_secs(86_400);
        assert_eq!(retire(root, 7 * day, 1_000).unwrap(), 1);
        assert!(!old.exists() && middle.exists());
        assert_eq!(retire(root, 7 * day, 10).unwrap(), 1);
        assert!(!middle.exists() && new.exists());
        assert_eq!(retire(root, 7 * day, 10).unwrap(), 0);
        assert!(others.iter().all(|p| p.exists()));
    }

    #[test]
    fn names_are_in_the_order_of_time_and_never_the_same() {
        let (one, other) = (name(Kind::Feedback), name(Kind::Feedback));
        assert_eq!(kind(&one, SUFFIX), Some(Kind::Feedback));
        assert!(one[..22] <= other[..22] && one != other);
        let path = partial(Path::new(&one));
        assert_eq!(kind(path.to_str().unwrap(), PARTIAL), Some(Kind::Feedback));
        assert_eq!(kind(path.to_str().unwrap(), SUFFIX), None);
    }
}
