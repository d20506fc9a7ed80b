//! The calls that tell what the server and its models are.

use bytes::Bytes;
use prost::Message;

use super::Server;
use super::table::Model;
use crate::model::contract::EngineKind;
use crate::tensor::{DataType, TensorSpec};
use crate::wire::framing::frame;
use crate::wire::inference as pb;
use crate::wire::status::Status;

pub fn decode<M: Message + Default>(message: Bytes, name: &str) -> Result<M, Status> {
    M::decode(message).map_err(|e| Status::invalid(format!("not a {name}: {e}")))
}

pub fn server_live() -> Bytes {
    frame(&pb::ServerLiveResponse { live: true })
}

pub fn server_ready(server: &Server) -> Bytes {
    frame(&pb::ServerReadyResponse {
        ready: server.ready(),
    })
}

pub fn server_metadata() -> Bytes {
    frame(&pb::ServerMetadataResponse {
        name: "sluicegate".into(),
        version: env!("CARGO_PKG_VERSION").into(),
        extensions: vec!["model_configuration".into()],
    })
}

/// As in Triton, an unknown model is not ready and not an error.
pub fn model_ready(server: &Server, message: Bytes) -> Result<Bytes, Status> {
    let request: pb::ModelReadyRequest = decode(message, "ModelReadyRequest")?;
    let ready = server
        .table
        .load()
        .find(&request.name, &request.version)
        .is_ok()
        && !server.is_draining();
    Ok(frame(&pb::ModelReadyResponse { ready }))
}

pub fn model_metadata(server: &Server, message: Bytes) -> Result<Bytes, Status> {
    let request: pb::ModelMetadataRequest = decode(message, "ModelMetadataRequest")?;
    let table = server.table.load();
    let model = table.find(&request.name, &request.version)?;
    let tensor = |s: &TensorSpec| pb::model_metadata_response::TensorMetadata {
        name: s.name.clone(),
        datatype: s.datatype.wire_name().into(),
        shape: s.shape.clone(),
    };
    Ok(frame(&pb::ModelMetadataResponse {
        name: model.name.clone(),
        versions: vec![model.version.clone()],
        platform: platform(model).into(),
        inputs: model.contract.inputs.iter().map(tensor).collect(),
        outputs: model.contract.outputs.iter().map(tensor).collect(),
    }))
}

pub fn model_config(server: &Server, message: Bytes) -> Result<Bytes, Status> {
    let request: pb::ModelConfigRequest = decode(message, "ModelConfigRequest")?;
    let table = server.table.load();
    let model = table.find(&request.name, &request.version)?;
    let input = |s: &TensorSpec| pb::ModelInput {
        name: s.name.clone(),
        data_type: config_type(s.datatype).into(),
        dims: s.shape[1..].to_vec(),
    };
    let output = |s: &TensorSpec| pb::ModelOutput {
        name: s.name.clone(),
        data_type: config_type(s.datatype).into(),
        dims: s.shape[1..].to_vec(),
    };
    let parameter = |value: &str| pb::ModelParameter {
        string_value: value.into(),
    };
    let mut parameters = vec![("digest".to_owned(), parameter(&model.report.digest))];
    if let Some(why) = &model.report.row_dependence {
        parameters.push(("batch_1_because".to_owned(), parameter(why)));
    }
    let config = pb::ModelConfig {
        name: model.name.clone(),
        platform: platform(model).into(),
        backend: model.contract.engine.name().into(),
        max_batch_size: i32::try_from(model.max_batch).unwrap_or(i32::MAX),
        input: model.contract.inputs.iter().map(input).collect(),
        output: model.contract.outputs.iter().map(output).collect(),
        default_model_filename: model.contract.graph.clone().unwrap_or_default(),
        dynamic_batching: Some(pb::ModelDynamicBatching::default()),
        parameters: parameters.into_iter().collect(),
    };
    Ok(frame(&pb::ModelConfigResponse {
        config: Some(config),
    }))
}

fn platform(model: &Model) -> &'static str {
    match model.contract.engine {
        EngineKind::Onnxruntime => "onnxruntime_onnx",
        other => other.name(),
    }
}

fn config_type(datatype: DataType) -> pb::DataType {
    match datatype {
        DataType::Bool => pb::DataType::TypeBool,
        DataType::Uint8 => pb::DataType::TypeUint8,
        DataType::Uint16 => pb::DataType::TypeUint16,
        DataType::Uint32 => pb::DataType::TypeUint32,
        DataType::Uint64 => pb::DataType::TypeUint64,
        DataType::Int8 => pb::DataType::TypeInt8,
        DataType::Int16 => pb::DataType::TypeInt16,
        DataType::Int32 => pb::DataType::TypeInt32,
        DataType::Int64 => pb::DataType::TypeInt64,
        DataType::Fp16 => pb::DataType::TypeFp16,
        DataType::Bf16 => pb::DataType::TypeBf16,
        DataType::Fp32 => pb::DataType::TypeFp32,
        DataType::Fp64 => pb::DataType::TypeFp64,
    }
}
