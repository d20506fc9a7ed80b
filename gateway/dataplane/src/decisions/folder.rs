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
/// What an Arrow file begins with, and where its first message stands as the writer aligns it.
const MAGIC: &[u8] = b"ARROW1";
const HEADER: usize = 64;

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
        match save(root, kind, file, counters)? {
            Saved::Rows(saved) => whole.push(saved),
            Saved::Nothing => {}
            Saved::Unreadable => {
                // Not looked at again, and not deleted: somebody may still get something out of it.
                fs::rename(&path, path.with_extension("unreadable"))?;
                continue;
            }
        }
        fs::remove_file(path)?;
    }
    Ok(whole)
}

/// What became of a file that a killed server left.
enum Saved {
    Rows(PathBuf),
    Nothing,
    Unreadable,
}

/// Copies every batch that is whole.
fn save(root: &Path, kind: Kind, file: fs::File, counters: &Counters) -> io::Result<Saved> {
    let mut bytes = BufReader::new(file);
    let mut header = [0; HEADER];
    if bytes.read_exact(&mut header).is_err() {
        // Killed before anything was written.
        return Ok(Saved::Nothing);
    }
    // Behind its header an Arrow file is a stream, as long as it has no footer.
    let stream = StreamReader::try_new(bytes, None);
    let (true, Ok(stream)) = (header.starts_with(MAGIC), stream) else {
        return Ok(Saved::Unreadable);
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
        return Ok(Saved::Nothing);
    };
    copy.finish()?;
    Ok(Saved::Rows(copy.path().to_owned()))
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
    fn a_file_that_was_left_is_made_whole_up_to_where_it_was_cut() {
        use arrow_array::{ArrayRef, Int64Array, RecordBatch};
        use std::sync::Arc;

        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let column = |n: i64| Arc::new(Int64Array::from_iter_values(0..n)) as ArrayRef;
        let batch = |n| RecordBatch::try_from_iter([("n", column(n))]).unwrap();
        let counters = Counters::default();
        let mut file = File::create(root, Kind::Decisions, &batch(0).schema(), &counters).unwrap();
        file.write(&batch(5)).unwrap();
        file.write(&batch(7)).unwrap();
        let left = partial(file.path());
        assert!(
            recover(root, &counters).unwrap().is_empty(),
            "somebody writes it"
        );
        drop(file);
        let bytes = fs::read(&left).unwrap();
        fs::write(&left, &bytes[..bytes.len() - 9]).unwrap();
        let other = root.join("shadow-1-a.arrow.partial");
        fs::write(&other, [7; 200]).unwrap();
        let whole = recover(root, &counters).unwrap();
        assert_eq!(whole.len(), 1);
        let read = fs::File::open(&whole[0]).unwrap();
        let read = arrow_ipc::reader::FileReader::try_new(read, None).unwrap();
        let rows: usize = read.map(|b| b.unwrap().num_rows()).sum();
        assert_eq!(rows, 5, "the batch that was cut is lost");
        assert!(!left.exists() && !other.exists());
        assert!(root.join("shadow-1-a.arrow.unreadable").exists());
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
