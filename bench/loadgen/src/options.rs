//! The command line.

use std::path::PathBuf;

use clap::{ArgGroup, Parser};

/// Open-loop gRPC load generator over raw HTTP/2 frames.
///
/// Sends unary gRPC calls over cleartext HTTP/2 with prior knowledge, from one thread, and writes
/// one JSON object about them. In open loop (--rate) requests follow a Poisson schedule that
/// never waits for the server: a latency runs from the scheduled send, so a server that stalls
/// is charged for every request that should have been sent meanwhile. In closed loop
/// (--in-flight) a request is sent when another one has ended.
///
/// A run is: connect; warm up; count; wait for what is still in flight. The schedule goes on
/// from the warm-up into the counted part without a break.
///
/// Exit codes: 0 done, 1 a result could not be written, 2 usage, 3 unreachable.
#[derive(Debug, Clone, Parser)]
#[command(name = "sluicegate-loadgen", version)]
#[command(group(ArgGroup::new("pace").required(true).args(["rate", "in_flight"])))]
pub struct Options {
    /// The server, as a name or address and a port.
    #[arg(long, value_name = "HOST:PORT")]
    pub target: String,

    /// The method's path.
    #[arg(long, default_value = "/inference.GRPCInferenceService/ModelInfer")]
    pub path: String,

    /// The :authority header; the target if left out.
    #[arg(long)]
    pub authority: Option<String>,

    /// The requests' messages: a sequence of (u32 little-endian length, message bytes).
    ///
    /// Request k carries message k modulo their number. Without this, one empty message.
    #[arg(long, value_name = "FILE")]
    pub requests: Option<PathBuf>,

    /// Open loop: requests a second in the mean, with exponential gaps.
    #[arg(long, value_name = "R", value_parser = positive)]
    pub rate: Option<f64>,

    /// Closed loop: requests in flight at any time, over all connections.
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub in_flight: Option<usize>,

    /// Connections to open; requests go round them.
    #[arg(long, value_name = "C", default_value = "4", value_parser = at_least_one)]
    pub connections: usize,

    /// Open streams per connection at most; the server's own limit holds besides.
    ///
    /// When every connection is at its limit, due requests wait here and keep their scheduled
    /// time.
    #[arg(long, value_name = "S", default_value = "1000", value_parser = at_least_one)]
    pub streams: usize,

    /// Rows in one request, for decisions a second.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub rows: u64,

    /// Deadline in µs: sent as grpc-timeout, and an OK answer later than this is late.
    #[arg(long, value_name = "D", value_parser = clap::value_parser!(u64).range(1..))]
    pub deadline_us: Option<u64>,

    /// Count by the deadline, but do not send grpc-timeout.
    #[arg(long)]
    pub no_timeout_header: bool,

    /// Seconds that are counted [default: 10, or without end if --sends is given].
    #[arg(long, value_name = "S", value_parser = positive)]
    pub duration_s: Option<f64>,

    /// Seconds of the schedule before counting begins.
    #[arg(long, value_name = "S", default_value = "1", value_parser = not_negative)]
    pub warmup_s: f64,

    /// Stop after this many counted sends.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub sends: Option<u64>,

    /// Seed of the schedule: the same seed and rate give the same arrivals.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,

    /// Pin this process to core K.
    #[arg(long, value_name = "K")]
    pub cpu: Option<usize>,

    /// Watch core K for pauses of the machine, by a thread of real-time priority; may be repeated.
    #[arg(long, value_name = "K")]
    pub witness: Vec<usize>,

    /// Do not spin before a send that is close.
    ///
    /// Open loop normally polls without sleeping in the last 2 ms before a send, which takes a
    /// whole core at more than some hundred requests a second. Without it, sends may be up to a
    /// millisecond late; see send_lag_us. Closed loop never spins.
    #[arg(long)]
    pub no_spin: bool,

    /// Write the first response to each message (the first OK one, where there is one).
    ///
    /// A sequence of (u32 index of the message, u32 grpc status, u32 length, message bytes),
    /// little-endian; status 255 is an answer without grpc-status. The warm-up's responses are
    /// taken too.
    #[arg(long, value_name = "FILE")]
    pub responses: Option<PathBuf>,

    /// Write 13 bytes for each counted request, in the order in which they ended.
    ///
    /// Little-endian: u64 scheduled ns from the start of counting, u32 latency in µs (rounded
    /// up), u8 grpc status; 255 an answer without grpc-status, 254 failed (the latency is the
    /// time until then), 253 unanswered (latency 4294967295).
    #[arg(long, value_name = "FILE")]
    pub samples: Option<PathBuf>,

    /// Take HTTP status 200 without grpc-status for OK, to load plain HTTP/2 servers.
    #[arg(long)]
    pub accept_http: bool,

    /// How long to wait for outstanding answers after the end of the schedule.
    ///
    /// Requests that are due and wait for a free stream are still sent meanwhile.
    #[arg(long, value_name = "S", default_value = "2", value_parser = not_negative)]
    pub linger_s: f64,

    /// Where to write the report; standard output if left out.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,

    /// A name for this run, repeated in the report.
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub label: String,

    /// Give up a request that is due while every connection is at its limit of streams.
    ///
    /// It counts as held back, not as late: a caller inside an auction does not queue either.
    #[arg(long)]
    pub lose_held_back: bool,

    /// End this share of the requests before they are answered: a cancel storm.
    ///
    /// Each such request is reset at a random moment within --cancel-within-us of its send, unless
    /// its answer comes first; it then counts as failed, by "cancelled by this generator".
    #[arg(long, value_name = "SHARE", default_value = "0", value_parser = share)]
    pub cancel_share: f64,

    /// The longest that a request to be cancelled is left alone, in µs.
    #[arg(long, value_name = "U", default_value = "2000", value_parser = clap::value_parser!(u64).range(1..))]
    pub cancel_within_us: u64,

    /// Connect again when a connection has ended; its requests have failed all the same.
    #[arg(long)]
    pub reconnect: bool,

    /// A line about the run every second on standard error, even when that is no terminal.
    #[arg(long)]
    pub progress: bool,
}

impl Options {
    /// Counted seconds, or `None` where only --sends ends the run.
    pub fn counted_s(&self) -> Option<f64> {
        const DEFAULT_S: f64 = 10.0;
        self.duration_s
            .or_else(|| self.sends.is_none().then_some(DEFAULT_S))
    }
}

fn number(text: &str) -> Result<f64, String> {
    let number: f64 = text
        .parse()
        .map_err(|_| "a number is expected".to_owned())?;
    if number.is_finite() && number <= 1e9 {
        Ok(number)
    } else {
        Err("a number of at most 1e9 is expected".to_owned())
    }
}

fn positive(text: &str) -> Result<f64, String> {
    let number = number(text)?;
    if number > 0.0 {
        Ok(number)
    } else {
        Err("it must be above 0".to_owned())
    }
}

fn not_negative(text: &str) -> Result<f64, String> {
    let number = number(text)?;
    if number >= 0.0 {
        Ok(number)
    } else {
        Err("it must not be negative".to_owned())
    }
}

fn share(text: &str) -> Result<f64, String> {
    let number = number(text)?;
    if (0.0..=1.0).contains(&number) {
        Ok(number)
    } else {
        Err("it must be between 0 and 1".to_owned())
    }
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("a whole number of at least 1 is expected".to_owned()),
        Ok(number) => Ok(number),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, clap::Error> {
        Options::try_parse_from(std::iter::once("loadgen").chain(line.split(' ')))
    }

    #[test]
    fn exactly_one_pace_is_asked_for() {
        assert!(parse("--target a:1 --rate 5").is_ok());
        assert!(parse("--target a:1 --in-flight 5").is_ok());
        assert!(parse("--target a:1").is_err());
        assert!(parse("--target a:1 --rate 5 --in-flight 5").is_err());
    }

    #[test]
    fn numbers_that_make_no_sense_are_refused() {
        for wrong in [
            "--rate 0",
            "--rate nan",
            "--in-flight 0",
            "--rate 1 --warmup-s -1",
            "--rate 1 --cancel-share 1.5",
        ] {
            assert!(parse(&format!("--target a:1 {wrong}")).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_run_lasts_ten_seconds_unless_sends_end_it() {
        let counted = |line| parse(line).ok().and_then(|options| options.counted_s());
        assert_eq!(counted("--target a:1 --rate 5"), Some(10.0));
        assert_eq!(counted("--target a:1 --rate 5 --sends 3"), None);
        assert_eq!(
            counted("--target a:1 --rate 5 --sends 3 --duration-s 2"),
            Some(2.0)
        );
    }
}
