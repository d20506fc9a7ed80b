// One decision within a deadline: @grpc/grpc-js, which reads the protocol when it starts.
//
// Exit codes: 0 answered, 1 refused, 3 unreachable.

import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { parseArgs, promisify } from "node:util";
import grpc from "@grpc/grpc-js";
import protoLoader from "@grpc/proto-loader";

const { values: flags } = parseArgs({
  options: {
    target: { type: "string", default: "127.0.0.1:8001" },
    model: { type: "string", default: "site-risk" },
    "deadline-ms": { type: "string", default: "10" },
    traceparent: { type: "string" },
    token: { type: "string" }, // On a network only over TLS.
  },
});

const proto = fileURLToPath(new URL("../../../proto/open_inference.proto", import.meta.url));
const { inference } = grpc.loadPackageDefinition(
  protoLoader.loadSync(proto, { keepCase: true, longs: Number, defaults: true }),
);
const stub = new inference.GRPCInferenceService(flags.target, grpc.credentials.createInsecure());

/** One call that is given so many milliseconds. */
function call(method, message, within) {
  const headers = new grpc.Metadata();
  if (flags.traceparent) headers.set("traceparent", flags.traceparent);
  if (flags.token) headers.set("authorization", `Bearer ${flags.token}`);
  return promisify(stub[method]).call(stub, message, headers, { deadline: Date.now() + within });
}

/** When another try may succeed, as the server says; below zero: never. */
function pushback(error) {
  return Number(error.metadata.get("grpc-retry-pushback-ms")[0] ?? -1);
}

/** Asks what the model takes, then for one row of zeros. */
async function decide() {
  const told = await call("ModelMetadata", { name: flags.model }, 5000);
  const { name, datatype, shape } = told.inputs[0];
  shape[0] = 1; // The first dimension is the batch.
  const row = new Float32Array(shape.reduce((a, b) => a * b));
  const request = {
    model_name: flags.model,
    inputs: [{ name, datatype, shape }],
    raw_input_contents: [Buffer.from(row.buffer)],
  };
  const infer = () => call("ModelInfer", request, Number(flags["deadline-ms"]));
  const answer = await infer().catch(async (error) => {
    if (error.code !== grpc.status.RESOURCE_EXHAUSTED || pushback(error) < 0) throw error;
    // Once, and not before the server said. A caller whose time is over would give up here.
    await sleep(pushback(error));
    return infer();
  });
  const score = answer.raw_output_contents[0].readFloatLE(0).toFixed(7);
  const digest = answer.parameters.sluicegate_digest.string_param;
  return `score=${score} model=${answer.model_name} version=${answer.model_version} digest=${digest}`;
}

async function main() {
  try {
    const { ready } = await call("ServerReady", {}, 5000);
    if (!ready) return [1, "refused: the server is not ready"];
  } catch (error) {
    return [3, `unreachable: ${error.details}`];
  }
  try {
    return [0, await decide()];
  } catch (error) {
    const { code, details } = error;
    if (code === grpc.status.RESOURCE_EXHAUSTED)
      return [1, `shed: ${details} (pushback ${pushback(error)} ms)`];
    if (code === grpc.status.DEADLINE_EXCEEDED) return [1, `late: ${details}`];
    return [1, `refused: ${grpc.status[code]}: ${details}`];
  }
}

const [code, line] = await main();
console.log(line);
process.exitCode = code;
stub.close();
