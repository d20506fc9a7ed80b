//! gRPC server reflection: which services there are, and the files that define them. The messages of
//! v1 and v1alpha are the same.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use prost::Message;
use prost_types::{FileDescriptorProto, FileDescriptorSet};

use super::call::Call;
use super::metadata::decode;
use crate::wire::DESCRIPTORS;
use crate::wire::framing::frame;
use crate::wire::reflection::server_reflection_request::MessageRequest;
use crate::wire::reflection::server_reflection_response::MessageResponse;
use crate::wire::reflection::{
    ErrorResponse, ExtensionNumberResponse, FileDescriptorResponse, ListServiceResponse,
    ServerReflectionRequest, ServerReflectionResponse, ServiceResponse,
};
use crate::wire::status::Code;

struct Known {
    files: BTreeMap<String, FileDescriptorProto>,
    /// Full name of every service, method, message and enum, and the file it is in.
    symbols: BTreeMap<String, String>,
    services: Vec<String>,
}

static KNOWN: LazyLock<Known> = LazyLock::new(|| {
    // It was written by this crate's own build.
    let set = FileDescriptorSet::decode(DESCRIPTORS).unwrap_or_default();
    let mut known = Known {
        files: BTreeMap::new(),
        symbols: BTreeMap::new(),
        services: Vec::new(),
    };
    for file in set.file {
        let (package, name) = (file.package().to_owned(), file.name().to_owned());
        let mut note = |symbol: String| known.symbols.insert(symbol, name.clone());
        for service in &file.service {
            let full = format!("{package}.{}", service.name());
            for method in &service.method {
                note(format!("{full}.{}", method.name()));
            }
            note(full.clone());
            known.services.push(full);
        }
        for message in &file.message_type {
            let full = format!("{package}.{}", message.name());
            for nested in &message.nested_type {
                note(format!("{full}.{}", nested.name()));
            }
            note(full);
        }
        for kind in &file.enum_type {
            note(format!("{package}.{}", kind.name()));
        }
        known.files.insert(name, file);
    }
    known
});

impl Known {
    /// A file and everything that it imports, each once.
    fn with_imports(&self, name: &str) -> Option<Vec<Vec<u8>>> {
        let mut wanted = vec![name.to_owned()];
        let mut found = Vec::new();
        let mut at = 0;
        while at < wanted.len() {
            let file = self.files.get(&wanted[at])?;
            found.push(file.encode_to_vec());
            for import in &file.dependency {
                if !wanted.contains(import) {
                    wanted.push(import.clone());
                }
            }
            at += 1;
        }
        Some(found)
    }

    fn answer(&self, request: &MessageRequest) -> MessageResponse {
        let files = |found: Option<Vec<Vec<u8>>>, what: &str| match found {
            Some(file_descriptor_proto) => {
                MessageResponse::FileDescriptorResponse(FileDescriptorResponse {
                    file_descriptor_proto,
                })
            }
            None => not_found(what),
        };
        match request {
            MessageRequest::ListServices(_) => {
                let service = |name: &String| ServiceResponse { name: name.clone() };
                MessageResponse::ListServicesResponse(ListServiceResponse {
                    service: self.services.iter().map(service).collect(),
                })
            }
            MessageRequest::FileByFilename(name) => files(self.with_imports(name), name),
            MessageRequest::FileContainingSymbol(symbol) => {
                let file = self.symbols.get(symbol);
                files(file.and_then(|f| self.with_imports(f)), symbol)
            }
            MessageRequest::FileContainingExtension(asked) => not_found(&format!(
                "extension {} of {}",
                asked.extension_number, asked.containing_type
            )),
            MessageRequest::AllExtensionNumbersOfType(name) if self.symbols.contains_key(name) => {
                MessageResponse::AllExtensionNumbersResponse(ExtensionNumberResponse {
                    base_type_name: name.clone(),
                    extension_number: Vec::new(),
                })
            }
            MessageRequest::AllExtensionNumbersOfType(name) => not_found(name),
        }
    }
}

fn not_found(what: &str) -> MessageResponse {
    MessageResponse::ErrorResponse(ErrorResponse {
        error_code: Code::NotFound as i32,
        error_message: format!("there is no '{what}' here"),
    })
}

/// Answers one call's questions until it ends.
pub async fn serve(call: Call, limit: usize) {
    let Some((mut incoming, mut replies)) = call.stream() else {
        return;
    };
    loop {
        let message = tokio::select! {
            message = incoming.next(limit) => message,
            () = replies.gone() => return,
        };
        let asked = match message {
            Ok(Some(message)) => decode(message, "ServerReflectionRequest"),
            Ok(None) => return replies.finish(Ok(())),
            Err(status) => Err(status),
        };
        let asked: ServerReflectionRequest = match asked {
            Ok(asked) => asked,
            Err(status) => return replies.finish(Err(status)),
        };
        let answer = asked.message_request.as_ref().map(|r| KNOWN.answer(r));
        let response = ServerReflectionResponse {
            valid_host: asked.host.clone(),
            original_request: Some(asked),
            message_response: answer.or_else(|| Some(not_found("question"))),
        };
        if !replies.send(frame(&response)).await {
            return;
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_service_is_listed_and_found_with_its_imports() {
        assert!(
            KNOWN
                .services
                .contains(&"inference.GRPCInferenceService".to_owned())
        );
        assert!(KNOWN.services.contains(&"grpc.health.v1.Health".to_owned()));
        let symbol = "inference.GRPCInferenceService.ModelInfer";
        let files = KNOWN.with_imports(&KNOWN.symbols[symbol]).unwrap();
        assert_eq!(
            files.len(),
            2,
            "open_inference.proto imports model_config.proto"
        );
    }

    #[test]
    fn what_is_not_there_is_an_error_and_not_a_silence() {
        let asked = MessageRequest::FileContainingSymbol("no.Such".into());
        let MessageResponse::ErrorResponse(error) = KNOWN.answer(&asked) else {
            panic!("found");
        };
        assert_eq!(error.error_code, 5);
    }
}
