//! From the buffers to files that are read back.

use std::fs;
use std::path::Path;

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Float64Type, Int32Type};
use arrow_ipc::reader::FileReader;

use super::*;
use crate::tensor::DataType;

fn settings(folder: &Path) -> DecisionLogSettings {
    DecisionLogSettings {
        folder: folder.into(),
        share: 1.0,
        inputs: LoggedInputs::All,
        key_file: Default::default(),
        file_mib: 64,
        file_seconds: 3_600,
        keep_days: 1,
        keep_mib: 64,
        buffer_mib: 1,
    }
}

fn model(keep: LoggedInputs) -> Arc<Logged> {
    let spec = |name: &str| TensorSpec::new(name, DataType::Fp32, &[-1, 2]);
    Arc::new(Logged {
        model: "m".into(),
        digest: "sha256:0".into(),
        inputs: vec![spec("x")],
        outputs: vec![spec("y")],
        keep,
    })
}

fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

/// The only whole file of a kind, as one batch.
fn read(folder: &Path, kind: &str) -> Option<RecordBatch> {
    let names = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path());
    let ours = |p: &std::path::PathBuf| {
        let name = p.file_name().unwrap().to_str().unwrap();
        name.starts_with(kind) && name.ends_with(".arrow")
    };
    let found: Vec<_> = names.filter(ours).collect();
    assert!(found.len() <= 1, "{found:?}");
    let file = fs::File::open(found.first()?).unwrap();
    let mut batches = FileReader::try_new(file, None).unwrap();
    let batch = batches.next().unwrap().unwrap();
    assert!(batches.next().is_none());
    Some(batch)
}

fn decide(log: &Log, model: &Arc<Logged>, id: &str, values: &[f32]) {
    let inputs = match model.keep {
        LoggedInputs::None => Held::Nothing,
        _ => Held::Rows(vec![floats(values).into()]),
    };
    log.decided(
        0,
        &Decision {
            model,
            id,
            key: None,
            rows: values.len() / 2,
            latency_us: 12.5,
            inputs: &inputs,
            outputs: &[&floats(values)],
        },
    );
}

#[test]
fn each_kind_has_its_file_and_rows_come_out_as_they_went_in() {
    let folder = tempfile::tempdir().unwrap();
    let counters = Counters::default();
    let (log, running) = start(&settings(folder.path()), 1, &counters).unwrap();
    let model = model(LoggedInputs::All);
    decide(&log, &model, "one", &[1.0, 2.0]);
    decide(&log, &model, "two", &[3.0, 4.0, 5.0, 6.0]);
    log.shadowed(&model, "two", 1, &[floats(&[7.0, 8.0])]);
    let outcome = Outcome {
        id: "two".into(),
        row: 1,
        time_ns: 9,
        label: 0.5,
    };
    assert!(log.reported(0, &[outcome.clone(), outcome]));
    running.stop(&log);

    let batch = read(folder.path(), "decisions").unwrap();
    let ids = batch.column_by_name("request_id").unwrap();
    let ids: Vec<&str> = ids.as_string::<i32>().iter().flatten().collect();
    assert_eq!(ids, ["one", "two", "two"]);
    let rows = batch.column_by_name("row").unwrap();
    assert_eq!(
        rows.as_primitive::<Int32Type>().values().as_ref(),
        [0, 0, 1]
    );
    for column in ["input:x", "output:y"] {
        let lists = batch.column_by_name(column).unwrap();
        let last = lists.as_list::<i32>().value(2);
        assert_eq!(
            last.as_primitive::<Float32Type>().values().as_ref(),
            [5.0, 6.0]
        );
    }
    let told = batch.schema();
    assert_eq!(told.metadata()["sluicegate.model"], "m");
    let shadow = read(folder.path(), "shadow").unwrap();
    assert_eq!(shadow.num_rows(), 1);
    assert!(shadow.column_by_name("latency_us").is_none());
    let feedback = read(folder.path(), "feedback").unwrap();
    let labels = feedback.column_by_name("label").unwrap();
    assert_eq!(
        labels.as_primitive::<Float64Type>().values().as_ref(),
        [0.5, 0.5]
    );
}

#[test]
fn hashes_without_a_key_are_rows_that_are_lost_and_never_in_the_clear() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key");
    fs::write(&key, [7; 32]).unwrap();
    let mut settings = settings(folder.path());
    settings.key_file.clone_from(&key);
    let (log, running) = start(&settings, 1, &Counters::default()).unwrap();
    // Destroyed before the first file is begun.
    fs::remove_file(&key).unwrap();
    decide(&log, &model(LoggedInputs::Hash), "one", &[1.0, 2.0]);
    decide(&log, &model(LoggedInputs::None), "two", &[1.0, 2.0]);
    running.stop(&log);
    let batch = read(folder.path(), "decisions").unwrap();
    assert_eq!(batch.num_rows(), 1, "that of the model without inputs");
    assert!(batch.column_by_name("key_hmac").is_none());
}

#[test]
fn a_folder_that_cannot_be_written_and_a_bad_key_are_told_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings(folder.path());
    settings.key_file = folder.path().join("none");
    let refused =
        |settings: &DecisionLogSettings| start(settings, 1, &Counters::default()).err().unwrap();
    assert!(refused(&settings).contains("key_file"));
    settings.folder = settings.key_file.join("x");
    fs::write(&settings.key_file, [0; 32]).unwrap();
    assert!(refused(&settings).contains("[decision_log] folder"));
}
