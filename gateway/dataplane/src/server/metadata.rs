//! The calls that tell what the server and its models are.

use bytes::Bytes;
use prost::Message;

use super::Server;
use super::callers::Rights;
use super::table::{Family, Model, Table};
use crate::config::Compat;
use crate::model::contract::EngineKind;
use crate::tensor::{DataType, TensorSpec};
use crate::wire::framing::frame;
use crate::wire::inference as pb;
use crate::wire::status::{Code, Status};

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

pub fn server_metadata(server: &Server) -> Bytes {
    let name = match server.config.compat {
        Compat::None => "sluicegate",
        Compat::Triton => "triton",
    };
    let extensions = [
        "classification",
        "model_configuration",
        "model_repository",
        "parameters",
        "schedule_policy",
        "statistics",
        "trace",
        "logging",
    ];
    frame(&pb::ServerMetadataResponse {
        name: name.into(),
        version: env!("CARGO_PKG_VERSION").into(),
        extensions: extensions.map(str::to_owned).to_vec(),
    })
}

/// As in Triton, an unknown model is not ready and not an error.
pub fn model_ready(server: &Server, rights: &Rights, message: Bytes) -> Result<Bytes, Status> {
    let request: pb::ModelReadyRequest = decode(message, "ModelReadyRequest")?;
    rights.may_use(&request.name)?;
    let ready = server
        .table
        .load()
        .find(&request.name, &request.version)
        .is_ok()
        && !server.is_leaving();
    Ok(frame(&pb::ModelReadyResponse { ready }))
}

pub fn model_metadata(server: &Server, rights: &Rights, message: Bytes) -> Result<Bytes, Status> {
    let request: pb::ModelMetadataRequest = decode(message, "ModelMetadataRequest")?;
    rights.may_use(&request.name)?;
    let table = server.table.load();
    let model = table.find(&request.name, &request.version)?;
    let tensor = |s: &TensorSpec| pb::model_metadata_response::TensorMetadata {
        name: s.name.clone(),
        datatype: s.datatype.wire_name().into(),
        shape: s.shape.clone(),
    };
    Ok(frame(&pb::ModelMetadataResponse {
        name: model.name.clone(),
        versions: live_versions(&table, &model.name),
        platform: platform(model).into(),
        inputs: model.contract.inputs.iter().map(tensor).collect(),
        outputs: model.contract.outputs.iter().map(tensor).collect(),
    }))
}

pub fn model_config(server: &Server, rights: &Rights, message: Bytes) -> Result<Bytes, Status> {
    let request: pb::ModelConfigRequest = decode(message, "ModelConfigRequest")?;
    rights.may_use(&request.name)?;
    let table = server.table.load();
    let model = table.find(&request.name, &request.version)?;
    let input = |s: &TensorSpec| pb::ModelInput {
        name: s.name.clone(),
        data_type: config_type(s.datatype).into(),
        dims: s.dims().to_vec(),
    };
    let output = |s: &TensorSpec| pb::ModelOutput {
        name: s.name.clone(),
        data_type: config_type(s.datatype).into(),
        dims: s.dims().to_vec(),
    };
    let parameter = |value: &str| pb::ModelParameter {
        string_value: value.into(),
    };
    let said = model.said();
    let mut parameters = vec![
        ("digest".to_owned(), parameter(&model.report.digest)),
        ("engine".to_owned(), parameter(&said.engine)),
    ];
    if let Some(note) = &said.note {
        parameters.push(("engine_note".to_owned(), parameter(note)));
    }
    if let Some(why) = &model.report.row_dependence {
        parameters.push(("batch_1_because".to_owned(), parameter(why)));
    }
    let config = pb::ModelConfig {
        name: model.name.clone(),
        platform: platform(model).into(),
        backend: model.contract.engine.name().into(),
        // 0 is Triton's word for a model that takes no batch.
        max_batch_size: match model.contract.is_batched() {
            true => i32::try_from(model.max_batch).unwrap_or(i32::MAX),
            false => 0,
        },
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

fn live_versions(table: &Table, name: &str) -> Vec<String> {
    let family = table.families.get(name);
    let live = family.into_iter().flat_map(Family::live);
    live.map(|m| m.version.to_string()).collect()
}

/// What is set; nothing can be changed by a caller.
pub fn trace_setting(server: &Server, message: Bytes) -> Result<Bytes, Status> {
    use pb::trace_setting_response::SettingValue;
    let request: pb::TraceSettingRequest = decode(message, "TraceSettingRequest")?;
    if let Some(key) = request.settings.keys().next() {
        return Err(read_only(key));
    }
    if !request.model_name.is_empty() {
        server.table.load().find(&request.model_name, "")?;
    }
    let value = |text: &str| SettingValue {
        value: vec![text.into()],
    };
    let telemetry = &server.config.telemetry;
    let level = match telemetry.otlp.is_empty() {
        true => "OFF",
        false => "TIMESTAMPS",
    };
    let ratio = telemetry.trace_ratio.to_string();
    let settings = [
        ("trace_level", value(level)),
        ("sluicegate_trace_ratio", value(&ratio)),
        ("trace_mode", value("opentelemetry")),
    ];
    let settings = settings.map(|(k, v)| (k.to_owned(), v)).into();
    Ok(frame(&pb::TraceSettingResponse { settings }))
}

/// What is set; nothing can be changed by a caller.
pub fn log_settings(message: Bytes) -> Result<Bytes, Status> {
    use pb::log_settings_response::SettingValue;
    use pb::log_settings_response::setting_value::ParameterChoice;
    let request: pb::LogSettingsRequest = decode(message, "LogSettingsRequest")?;
    if let Some(key) = request.settings.keys().next() {
        return Err(read_only(key));
    }
    let value = |choice| SettingValue {
        parameter_choice: Some(choice),
    };
    let settings = [
        ("log_info", value(ParameterChoice::BoolParam(true))),
        ("log_warning", value(ParameterChoice::BoolParam(true))),
        ("log_error", value(ParameterChoice::BoolParam(true))),
        ("log_verbose_level", value(ParameterChoice::Uint32Param(0))),
        (
            "log_format",
            value(ParameterChoice::StringParam("json".into())),
        ),
    ];
    let settings = settings.map(|(k, v)| (k.to_owned(), v)).into();
    Ok(frame(&pb::LogSettingsResponse { settings }))
}

fn read_only(key: &str) -> Status {
    let text = format!("setting '{key}' cannot be changed by a call; change sluicegate.toml");
    Status::new(Code::PermissionDenied, text)
}

fn platform(model: &Model) -> &str {
    match &model.contract.engine {
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
        DataType::Bytes => pb::DataType::TypeString,
    }
}
