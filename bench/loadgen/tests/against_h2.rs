#![allow(clippy::unwrap_used, clippy::expect_used)]
//! The generator as a program, against an HTTP/2 server of another make.

mod support;

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use support::{ECHO, HANG_UP, REFUSE, RESET, SILENT, SLOW, TIMEOUT, serve};
use tempfile::TempDir;

fn loadgen(target: SocketAddr, options: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sluicegate-loadgen"))
        .args(["--target", &target.to_string()])
        .args(options)
        .output()
        .unwrap()
}

fn report(target: SocketAddr, options: &[&str]) -> Value {
    let output = loadgen(target, options);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

fn write_requests(folder: &TempDir, messages: &[Vec<u8>]) -> PathBuf {
    let path = folder.path().join("requests");
    let mut bytes = Vec::new();
    for message in messages {
        bytes.extend((message.len() as u32).to_le_bytes());
        bytes.extend(message);
    }
    std::fs::write(&path, bytes).unwrap();
    path
}

/// (index, status, message) of a responses file.
fn read_responses(path: &Path) -> Vec<(u32, u32, Vec<u8>)> {
    let bytes = std::fs::read(path).unwrap();
    let mut rest = &bytes[..];
    let number = |rest: &mut &[u8]| {
        let (first, after) = rest.split_first_chunk::<4>().unwrap();
        *rest = after;
        u32::from_le_bytes(*first)
    };
    let mut responses = Vec::new();
    while !rest.is_empty() {
        let (index, status) = (number(&mut rest), number(&mut rest));
        let length = number(&mut rest) as usize;
        let (message, after) = rest.split_at(length);
        responses.push((index, status, message.to_vec()));
        rest = after;
    }
    responses
}

fn count(report: &Value, field: &str) -> u64 {
    report[field]
        .as_u64()
        .unwrap_or_else(|| panic!("{field} is no count in {report}"))
}

/// What a report promises of every run.
fn assert_adds_up(report: &Value) {
    let failures: u64 = report["failures"]
        .as_object()
        .unwrap()
        .values()
        .map(|n| n.as_u64().unwrap())
        .sum();
    let sent = count(report, "sent");
    assert_eq!(
        sent,
        count(report, "completed") + failures + count(report, "unanswered")
    );
    assert_eq!(count(report, "offered"), sent + count(report, "never_sent"));
}

#[test]
fn open_loop_counts_answers_refusals_and_resets_apart() {
    let folder = TempDir::new().unwrap();
    let messages = [vec![ECHO, 1], vec![REFUSE], vec![RESET], vec![ECHO, 2]];
    let requests = write_requests(&folder, &messages);
    let (responses, samples) = (
        folder.path().join("responses"),
        folder.path().join("samples"),
    );
    let report = report(
        serve(100),
        &[
            "--rate=2000",
            "--sends=400",
            "--warmup-s=0",
            "--rows=32",
            "--label=mixed",
            "--requests",
            requests.to_str().unwrap(),
            "--responses",
            responses.to_str().unwrap(),
            "--samples",
            samples.to_str().unwrap(),
        ],
    );
    assert_adds_up(&report);
    assert_eq!(report["mode"], "open");
    assert_eq!(report["label"], "mixed");
    assert_eq!(count(&report, "sent"), 400);
    assert_eq!(
        report["status"],
        serde_json::json!({"OK": 200, "RESOURCE_EXHAUSTED": 100})
    );
    assert_eq!(report["failures"], serde_json::json!({"rst:CANCEL": 100}));
    assert_eq!(report["latency_us"]["count"], 200);
    assert_eq!(report["latency_all_us"]["count"], 300);
    assert_eq!(report["send_lag_us"]["count"], 400);
    assert!(report["latency_us"]["p50"].is_number());
    assert!(
        report["latency_us"]["p99"].is_null(),
        "only 2 of 200 lie beyond p99"
    );
    assert_eq!(
        report["first_error_messages"],
        serde_json::json!([
            {"status": "RESOURCE_EXHAUSTED", "message": "queue full: 100% of 16 rows"}
        ])
    );
    let decisions = report["decisions_per_s"].as_f64().unwrap();
    assert!((decisions / report["ok_per_s"].as_f64().unwrap() - 32.0).abs() < 1e-6);

    let expected = [(0, 0, vec![ECHO, 1]), (1, 8, vec![]), (3, 0, vec![ECHO, 2])];
    assert_eq!(read_responses(&responses), expected);

    let samples = std::fs::read(samples).unwrap();
    let statuses: Vec<u8> = samples.chunks_exact(13).map(|record| record[12]).collect();
    let of = |status| statuses.iter().filter(|found| **found == status).count();
    assert_eq!(
        (statuses.len(), of(0), of(8), of(254)),
        (400, 200, 100, 100)
    );
}

#[test]
fn large_messages_go_through_the_servers_small_windows_unharmed() {
    let folder = TempDir::new().unwrap();
    let messages: Vec<Vec<u8>> = (0..4u32)
        .map(|seed| {
            let noise =
                (0..300_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> (8 + seed)) as u8);
            std::iter::once(ECHO).chain(noise).collect()
        })
        .collect();
    let requests = write_requests(&folder, &messages);
    let responses = folder.path().join("responses");
    let report = report(
        serve(3),
        &[
            "--in-flight=6",
            "--sends=12",
            "--warmup-s=0",
            "--connections=1",
            "--requests",
            requests.to_str().unwrap(),
            "--responses",
            responses.to_str().unwrap(),
            "--linger-s=60",
        ],
    );
    assert_adds_up(&report);
    assert_eq!(report["status"], serde_json::json!({"OK": 12}));
    let expected: Vec<_> = messages
        .into_iter()
        .enumerate()
        .map(|(i, message)| (i as u32, 0, message))
        .collect();
    assert!(
        read_responses(&responses) == expected,
        "the echoed messages differ"
    );
}

#[test]
fn the_warm_up_is_not_counted_but_its_responses_are_kept() {
    let folder = TempDir::new().unwrap();
    let responses = folder.path().join("responses");
    let path = responses.to_str().unwrap();
    let options = [
        "--in-flight=1",
        "--warmup-s=0.2",
        "--sends=3",
        "--responses",
        path,
    ];
    let report = report(serve(100), &options);
    assert_adds_up(&report);
    assert_eq!(count(&report, "ok"), 3);
    assert_eq!(read_responses(&responses), [(0, 0, vec![])]);
}

#[test]
fn an_ok_answer_after_the_deadline_is_late_and_no_goodput() {
    let folder = TempDir::new().unwrap();
    let requests = write_requests(&folder, &[vec![SLOW]]);
    let report = report(
        serve(100),
        &[
            "--rate=500",
            "--sends=50",
            "--warmup-s=0",
            "--deadline-us=1000",
            "--requests",
            requests.to_str().unwrap(),
        ],
    );
    assert_adds_up(&report);
    assert_eq!((count(&report, "ok"), count(&report, "late")), (50, 50));
    assert_eq!(report["goodput_per_s"], 0.0);
}

#[test]
fn the_deadline_is_sent_as_grpc_timeout() {
    let folder = TempDir::new().unwrap();
    let requests = write_requests(&folder, &[vec![TIMEOUT]]);
    let responses = folder.path().join("responses");
    report(
        serve(100),
        &[
            "--in-flight=1",
            "--sends=1",
            "--warmup-s=0",
            "--deadline-us=250000000",
            "--requests",
            requests.to_str().unwrap(),
            "--responses",
            responses.to_str().unwrap(),
        ],
    );
    assert_eq!(read_responses(&responses), [(0, 0, b"250000m".to_vec())]);
}

#[test]
fn requests_without_an_answer_are_counted_at_the_end() {
    let folder = TempDir::new().unwrap();
    let requests = write_requests(&folder, &[vec![SILENT]]);
    let report = report(
        serve(2),
        &[
            "--rate=1000",
            "--duration-s=0.2",
            "--warmup-s=0",
            "--connections=1",
            "--linger-s=0.1",
            "--requests",
            requests.to_str().unwrap(),
        ],
    );
    assert_adds_up(&report);
    assert_eq!(
        (count(&report, "sent"), count(&report, "unanswered")),
        (2, 2)
    );
    assert!(
        count(&report, "never_sent") > 0,
        "the server takes two streams only"
    );
    assert!(report["latency_us"]["max"].is_null());
}

#[test]
fn a_lost_connection_fails_its_requests_and_is_made_again_if_wished() {
    let folder = TempDir::new().unwrap();
    let requests = write_requests(&folder, &[vec![HANG_UP], vec![ECHO]]);
    let requests = requests.to_str().unwrap();
    let options = [
        "--in-flight=1",
        "--connections=1",
        "--warmup-s=0",
        "--sends=6",
        "--requests",
        requests,
    ];

    let once = report(serve(100), &options);
    assert_adds_up(&once);
    assert_eq!(
        (count(&once, "sent"), count(&once, "connections_lost")),
        (1, 1)
    );

    let again = report(serve(100), &[&options[..], &["--reconnect"]].concat());
    assert_adds_up(&again);
    assert_eq!(
        (count(&again, "sent"), count(&again, "ok")),
        (6, 3),
        "{again}"
    );
    assert_eq!(
        (
            count(&again, "connections_lost"),
            count(&again, "reconnects")
        ),
        (3, 3)
    );
}

#[test]
fn exit_codes_tell_usage_from_unreachable() {
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let unreachable = loadgen(free, &["--rate=1"]);
    assert_eq!(unreachable.status.code(), Some(3));
    let sentence = String::from_utf8(unreachable.stderr).unwrap();
    assert!(
        sentence.contains("cannot reach") && sentence.contains("refused"),
        "{sentence}"
    );
    assert_eq!(sentence.lines().count(), 1);

    assert_eq!(loadgen(free, &["--rate=0"]).status.code(), Some(2));
    assert_eq!(
        loadgen(free, &["--rate=1", "--requests=/nowhere"])
            .status
            .code(),
        Some(2)
    );
    assert_eq!(
        loadgen(free, &["--rate=1", "--out=/nowhere/x"])
            .status
            .code(),
        Some(2)
    );
}
