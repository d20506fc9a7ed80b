#!/bin/sh
# Writes the wire types from proto/ into inference/, by `go generate`. The two plugins are those
# that go.mod pins; protoc is the project's own (grpcio-tools), or any other named by PROTOC.
set -eu
proto=../../../proto
package=sluicegate/client/inference
: "${PROTOC:=../../../.venv/bin/python -m grpc_tools.protoc}"
options=
for file in open_inference model_config; do
    # The files name no Go package: they are not Go's alone.
    options="$options --go_opt=M$file.proto=$package --go-grpc_opt=M$file.proto=$package"
done
# shellcheck disable=SC2086
$PROTOC -I "$proto" \
    --plugin="$(go tool -n protoc-gen-go)" --plugin="$(go tool -n protoc-gen-go-grpc)" \
    --go_out=. --go_opt=module=sluicegate/client \
    --go-grpc_out=. --go-grpc_opt=module=sluicegate/client \
    $options open_inference.proto model_config.proto
