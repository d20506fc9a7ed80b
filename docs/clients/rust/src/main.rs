//! One decision within a deadline: tonic.
//!
//! Exit codes: 0 answered, 1 refused, 3 unreachable.

use std::collections::HashMap;
use std::process::ExitCode;
use std::time::Duration;

use inference::grpc_inference_service_client::GrpcInferenceServiceClient;
use inference::infer_parameter::ParameterChoice;
use inference::model_infer_request::InferInputTensor;
use inference::{ModelInferRequest, ModelMetadataRequest, ServerReadyRequest};
use tonic::metadata::{AsciiMetadataValue, MetadataMap};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

// Generated.
#[allow(clippy::all)]
mod inference {
    tonic::include_proto!("inference");
}

type Stub = GrpcInferenceServiceClient<Channel>;

/// What the command line says.
struct Ask {
    model: String,
    deadline: Duration,
    headers: MetadataMap,
}

impl Ask {
    /// A call that is given so much time.
    fn call<T>(&self, message: T, within: Duration) -> Request<T> {
        let mut request = Request::new(message);
        *request.metadata_mut() = self.headers.clone();
        request.set_timeout(within);
        request
    }
}

/// When another try may succeed, as the server says; none: never.
fn pushback(status: &Status) -> Option<Duration> {
    let said = status.metadata().get("grpc-retry-pushback-ms")?;
    Some(Duration::from_millis(said.to_str().ok()?.parse().ok()?))
}

/// Asks what the model takes, then for one row of zeros.
async fn decide(stub: &mut Stub, ask: &Ask) -> Result<String, Status> {
    let name = ask.model.clone();
    let version = String::new();
    let asked = ModelMetadataRequest { name, version };
    let told = stub.model_metadata(ask.call(asked, Duration::from_secs(5)));
    let mut takes = told.await?.into_inner().inputs.remove(0);
    // The first dimension is the batch.
    takes.shape[0] = 1;
    let size = 4 * takes.shape.iter().product::<i64>() as usize;
    let request = ModelInferRequest {
        model_name: ask.model.clone(),
        inputs: vec![InferInputTensor {
            name: takes.name,
            datatype: takes.datatype,
            shape: takes.shape,
            ..Default::default()
        }],
        raw_input_contents: vec![vec![0; size]],
        ..Default::default()
    };
    let mut answer = stub
        .model_infer(ask.call(request.clone(), ask.deadline))
        .await;
    if let Err(status) = &answer
        && status.code() == Code::ResourceExhausted
        && let Some(wait) = pushback(status)
    {
        // Once, and not before the server said. A caller whose time is over would give up here.
        tokio::time::sleep(wait).await;
        answer = stub.model_infer(ask.call(request, ask.deadline)).await;
    }
    let answer = answer?.into_inner();
    let score = answer.raw_output_contents[0].first_chunk().copied();
    let score = f32::from_le_bytes(score.unwrap_or_default());
    let digest = answer.parameters.get("sluicegate_digest");
    let digest = match digest.and_then(|p| p.parameter_choice.as_ref()) {
        Some(ParameterChoice::StringParam(digest)) => digest,
        _ => "",
    };
    let (model, version) = (answer.model_name, answer.model_version);
    Ok(format!(
        "score={score:.7} model={model} version={version} digest={digest}"
    ))
}

async fn run(flags: &HashMap<String, String>) -> Result<(u8, String), Box<dyn std::error::Error>> {
    let flag = |name: &str, default: &str| flags.get(name).map_or(default, |v| v).to_owned();
    let mut headers = MetadataMap::new();
    if let Some(trace) = flags.get("--traceparent") {
        headers.insert("traceparent", trace.parse::<AsciiMetadataValue>()?);
    }
    // Who calls; on a network only over TLS.
    if let Some(token) = flags.get("--token") {
        headers.insert("authorization", format!("Bearer {token}").parse()?);
    }
    let ask = Ask {
        model: flag("--model", "site-risk"),
        deadline: Duration::from_millis(flag("--deadline-ms", "10").parse()?),
        headers,
    };
    let target = format!("http://{}", flag("--target", "127.0.0.1:8001"));
    let mut stub = Stub::new(Endpoint::from_shared(target)?.connect_lazy());
    let asked = ask.call(ServerReadyRequest {}, Duration::from_secs(5));
    Ok(match stub.server_ready(asked).await {
        Err(status) => (3, format!("unreachable: {}", status.message())),
        Ok(told) if !told.get_ref().ready => (1, "refused: the server is not ready".into()),
        Ok(_) => match decide(&mut stub, &ask).await {
            Ok(line) => (0, line),
            Err(status) => (1, explain(&status)),
        },
    })
}

fn explain(status: &Status) -> String {
    let why = status.message();
    match status.code() {
        Code::ResourceExhausted => match pushback(status) {
            Some(wait) => format!("shed: {why} (pushback {} ms)", wait.as_millis()),
            None => format!("shed: {why} (pushback -1 ms)"),
        },
        // tonic's own clock says Cancelled, the server's DeadlineExceeded.
        Code::DeadlineExceeded | Code::Cancelled => format!("late: {why}"),
        code => format!("refused: {code:?}: {why}"),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let pairs = words.chunks_exact(2).map(|p| (p[0].clone(), p[1].clone()));
    let (code, line) = match run(&pairs.collect()).await {
        Ok(told) => told,
        // A flag that cannot be read.
        Err(error) => (2, error.to_string()),
    };
    println!("{line}");
    ExitCode::from(code)
}
