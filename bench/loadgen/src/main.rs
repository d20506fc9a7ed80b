//! Open-loop gRPC load generator: reads the command line, runs, writes the report.

mod affinity;
mod clock;
mod connection;
mod frames;
mod hpack;
mod link;
mod links;
mod messages;
mod options;
mod outbound;
mod outcome;
mod quantiles;
mod report;
mod response_head;
mod run;
mod schedule;
mod storm;
mod streams;
mod tally;
mod witness;

use std::fs::File;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;

use crate::options::Options;
use crate::report::Report;
use crate::run::LoadError;

const FAILED: u8 = 1;
const USAGE: u8 = 2;
const UNREACHABLE: u8 = 3;

fn main() -> ExitCode {
    let options = Options::parse();
    let (code, sentence) = match load(&options) {
        Ok(()) => return ExitCode::SUCCESS,
        Err(LoadError::Failed(sentence)) => (FAILED, sentence),
        Err(LoadError::Usage(sentence)) => (USAGE, sentence),
        Err(LoadError::Unreachable(sentence)) => (UNREACHABLE, sentence),
    };
    eprintln!("sluicegate-loadgen: {sentence}.");
    ExitCode::from(code)
}

fn load(options: &Options) -> Result<(), LoadError> {
    // Opened before the run, so that a wrong path does not cost one.
    let mut out: Box<dyn Write> = match &options.out {
        Some(path) => Box::new(File::create(path).map_err(|error| {
            LoadError::Usage(format!("cannot write {}: {error}", path.display()))
        })?),
        None => Box::new(io::stdout()),
    };
    let report = run::run(options)?;
    write(&mut out, &report)
        .map_err(|error| LoadError::Failed(format!("cannot write the report: {error}")))
}

fn write(out: &mut dyn Write, report: &Report) -> io::Result<()> {
    let mut text = serde_json::to_string(report)?;
    text.push('\n');
    out.write_all(text.as_bytes())?;
    out.flush()
}
