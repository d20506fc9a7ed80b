#![allow(clippy::unwrap_used, clippy::expect_used)]
//! The connection against frames written by hand.

use super::*;
use crate::frames::{code, put_header, put_settings, put_window_update};

fn ticket(message: u32) -> Ticket {
    Ticket {
        scheduled_ns: 0,
        message,
        counted: true,
        capture: true,
    }
}

fn requests(message: &[u8]) -> Rc<Requests> {
    let mut sequence = (message.len() as u32).to_le_bytes().to_vec();
    sequence.extend_from_slice(message);
    Rc::new(Requests::from_sequence(vec![0x83], &sequence).unwrap())
}

/// A connection whose peer has sent these settings; its outbox is empty.
fn greeted(message: &[u8], settings: &[(u16, u32)]) -> Connection {
    let mut connection = Connection::new(requests(message), 100);
    assert!(connection.to_write().starts_with(PREFACE));
    assert!(!connection.has_room());
    let mut bytes = Vec::new();
    put_settings(&mut bytes, settings);
    feed(&mut connection, &bytes).unwrap();
    drain(&mut connection);
    connection
}

fn feed(connection: &mut Connection, bytes: &[u8]) -> Result<Vec<Finished>, Violation> {
    let mut done = Vec::new();
    connection.read_space()[..bytes.len()].copy_from_slice(bytes);
    connection.received(bytes.len(), &mut done).map(|()| done)
}

/// What the connection wants to write, as (kind, flags, stream, payload length).
fn drain(connection: &mut Connection) -> Vec<(u8, u8, u32, usize)> {
    let bytes = connection.to_write().to_vec();
    connection.written(bytes.len());
    let mut rest = bytes.strip_prefix(PREFACE).unwrap_or(&bytes);
    let mut frames = Vec::new();
    while let Some(header) = FrameHeader::parse(rest) {
        frames.push((header.kind, header.flags, header.stream, header.len));
        rest = &rest[HEADER_LEN + header.len..];
    }
    assert!(rest.is_empty());
    frames
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    put_header(&mut bytes, payload.len(), kind, flags, stream);
    bytes.extend_from_slice(payload);
    bytes
}

const GRPC_STATUS_0: &[u8] = b"\x00\x0bgrpc-status\x010";

#[test]
fn a_small_request_is_one_headers_and_one_data_frame() {
    let mut connection = greeted(b"hello", &[]);
    connection.start(ticket(0));
    let end = flag::END_STREAM;
    assert_eq!(
        drain(&mut connection),
        [(1, flag::END_HEADERS, 1, 1), (0, end, 1, 10)]
    );
}

#[test]
fn a_body_is_split_by_the_frame_size_and_waits_for_both_windows() {
    // 5 + 99,995 bytes; the connection's window is 65,535.
    let mut connection = greeted(&[7; 99_995], &[(setting::INITIAL_WINDOW_SIZE, 20_000)]);
    connection.start(ticket(0));
    let data = |len| (kind::DATA, 0, 1, len);
    assert_eq!(drain(&mut connection)[1..], [data(16_384), data(3_616)]);

    let mut update = Vec::new();
    put_window_update(&mut update, 1, 80_000);
    feed(&mut connection, &update).unwrap();
    // 45,535 left in the connection's window.
    assert_eq!(
        drain(&mut connection),
        [data(16_384), data(16_384), data(12_767)]
    );

    let mut update = Vec::new();
    put_window_update(&mut update, 0, 100_000);
    feed(&mut connection, &update).unwrap();
    let last = (kind::DATA, flag::END_STREAM, 1, 34_465 - 2 * 16_384);
    assert_eq!(drain(&mut connection), [data(16_384), data(16_384), last]);
}

#[test]
fn a_larger_initial_window_frees_streams_that_wait_and_a_smaller_one_may_go_below_zero() {
    let mut connection = greeted(&[7; 995], &[(setting::INITIAL_WINDOW_SIZE, 600)]);
    connection.start(ticket(0));
    drain(&mut connection);
    let mut settings = Vec::new();
    put_settings(&mut settings, &[(setting::INITIAL_WINDOW_SIZE, 100)]);
    feed(&mut connection, &settings).unwrap();
    let mut settings = Vec::new();
    put_settings(&mut settings, &[(setting::INITIAL_WINDOW_SIZE, 1_000)]);
    feed(&mut connection, &settings).unwrap();
    let frames = drain(&mut connection);
    assert_eq!(frames.last(), Some(&(kind::DATA, flag::END_STREAM, 1, 400)));
}

#[test]
fn the_peers_stream_limit_is_kept() {
    let mut connection = greeted(b"", &[(setting::MAX_CONCURRENT_STREAMS, 2)]);
    connection.start(ticket(0));
    assert!(connection.has_room());
    connection.start(ticket(0));
    assert!(!connection.has_room());
    let response = frame(
        kind::HEADERS,
        flag::END_HEADERS | flag::END_STREAM,
        1,
        &[0x88],
    );
    assert_eq!(feed(&mut connection, &response).unwrap().len(), 1);
    assert!(connection.has_room());
}

#[test]
fn a_response_in_many_pieces_is_put_together() {
    let mut connection = greeted(b"", &[]);
    connection.start(ticket(0));
    let mut bytes = frame(kind::HEADERS, 0, 1, &[0x20]);
    bytes.extend(frame(kind::CONTINUATION, flag::END_HEADERS, 1, &[0x88]));
    bytes.extend(frame(
        kind::DATA,
        flag::PADDED,
        1,
        b"\x02\0\0\0\0\x02hi\0\0",
    ));
    let trailers = flag::END_HEADERS | flag::END_STREAM;
    bytes.extend(frame(kind::HEADERS, trailers, 1, GRPC_STATUS_0));
    let mut finished = Vec::new();
    for byte in &bytes {
        finished.extend(feed(&mut connection, &[*byte]).unwrap());
    }
    let [done] = finished.try_into().unwrap();
    assert!(matches!(
        done.outcome,
        Outcome::Answered {
            status: Status::OK,
            ..
        }
    ));
    assert_eq!(done.body.as_deref(), Some(&b"\0\0\0\0\x02hi"[..]));
}

#[test]
fn an_answer_without_grpc_status_has_its_http_status() {
    let mut connection = greeted(b"", &[]);
    connection.start(ticket(0));
    let mut bytes = frame(kind::HEADERS, flag::END_HEADERS, 1, &[0x88]);
    bytes.extend(frame(kind::DATA, flag::END_STREAM, 1, b"x"));
    let done = feed(&mut connection, &bytes).unwrap();
    assert!(matches!(
        done[0].outcome,
        Outcome::Answered {
            status: Status::Http(200),
            ..
        }
    ));
}

#[test]
fn a_reset_fails_its_stream_only_and_a_goaway_those_after_its_last_stream() {
    let mut connection = greeted(b"", &[]);
    for _ in 0..3 {
        connection.start(ticket(0));
    }
    let reset = frame(kind::RST_STREAM, 0, 1, &code::CANCEL.to_be_bytes());
    let done = feed(&mut connection, &reset).unwrap();
    assert_eq!(
        done[0].outcome,
        Outcome::Failed(Failure::Reset(code::CANCEL))
    );

    let done = feed(
        &mut connection,
        &frame(kind::GOAWAY, 0, 0, &[0, 0, 0, 3, 0, 0, 0, 0]),
    )
    .unwrap();
    assert_eq!(done.len(), 1);
    assert_eq!(done[0].outcome, Outcome::Failed(Failure::GoAway(0)));
    assert!(!connection.has_room());
    assert!(!connection.drained());

    let response = frame(
        kind::HEADERS,
        flag::END_HEADERS | flag::END_STREAM,
        3,
        &[0x88],
    );
    feed(&mut connection, &response).unwrap();
    assert!(connection.drained());
}

#[test]
fn pings_and_settings_are_answered_and_received_bytes_are_granted_again() {
    let mut connection = greeted(b"", &[]);
    feed(&mut connection, &frame(kind::PING, 0, 0, &[1; 8])).unwrap();
    feed(&mut connection, &frame(kind::SETTINGS, 0, 0, &[])).unwrap();
    let ack = flag::ACK;
    assert_eq!(
        drain(&mut connection),
        [(kind::PING, ack, 0, 8), (kind::SETTINGS, ack, 0, 0)]
    );

    let data = frame(kind::DATA, 0, 1, &[0; OUR_MAX_FRAME_SIZE]);
    (0..64).for_each(|_| drop(feed(&mut connection, &data).unwrap()));
    assert_eq!(drain(&mut connection), [(kind::WINDOW_UPDATE, 0, 0, 4)]);
}

#[test]
fn an_early_answer_cancels_what_was_not_sent_yet() {
    let mut connection = greeted(&[7; 995], &[(setting::INITIAL_WINDOW_SIZE, 600)]);
    connection.start(ticket(0));
    drain(&mut connection);
    let response = frame(
        kind::HEADERS,
        flag::END_HEADERS | flag::END_STREAM,
        1,
        &[0x88],
    );
    assert_eq!(feed(&mut connection, &response).unwrap().len(), 1);
    assert_eq!(drain(&mut connection), [(kind::RST_STREAM, 0, 1, 4)]);
}

#[test]
fn a_broken_rule_is_said_in_a_goaway() {
    let mut connection = greeted(b"", &[]);
    let mut bytes = frame(kind::HEADERS, 0, 1, &[0x88]);
    bytes.extend(frame(kind::DATA, 0, 1, b""));
    assert_eq!(
        feed(&mut connection, &bytes).unwrap_err().code,
        code::PROTOCOL_ERROR
    );
    assert_eq!(drain(&mut connection), [(kind::GOAWAY, 0, 0, 8)]);

    let mut connection = Connection::new(requests(b""), 1);
    assert!(feed(&mut connection, b"HTTP/1.1 400 Bad Request\r\n\r\n").is_err());
}
