import static java.util.concurrent.TimeUnit.MILLISECONDS;
import static java.util.concurrent.TimeUnit.SECONDS;

import com.google.protobuf.ByteString;
import inference.GRPCInferenceServiceGrpc;
import inference.GRPCInferenceServiceGrpc.GRPCInferenceServiceBlockingStub;
import inference.OpenInference.ModelInferRequest;
import inference.OpenInference.ModelInferResponse;
import inference.OpenInference.ModelMetadataRequest;
import inference.OpenInference.ServerReadyRequest;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.Metadata;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.stub.MetadataUtils;
import java.nio.ByteOrder;
import java.util.HashMap;
import java.util.Locale;
import java.util.Map;

/**
 * One decision within a deadline: grpc-java.
 *
 * <p>Exit codes: 0 answered, 1 refused, 3 unreachable.
 */
public final class Client {
  private static final Metadata.Key<String> PUSHBACK = header("grpc-retry-pushback-ms");

  public static void main(String[] args) throws InterruptedException {
    Map<String, String> flags = new HashMap<>();
    for (int i = 0; i + 1 < args.length; i += 2) {
      flags.put(args[i], args[i + 1]);
    }
    Metadata headers = new Metadata();
    if (flags.containsKey("--traceparent")) {
      headers.put(header("traceparent"), flags.get("--traceparent"));
    }
    if (flags.containsKey("--token")) {
      // On a network only over TLS.
      headers.put(header("authorization"), "Bearer " + flags.get("--token"));
    }
    var target = flags.getOrDefault("--target", "127.0.0.1:8001");
    var channel = Grpc.newChannelBuilder(target, InsecureChannelCredentials.create()).build();
    var stub =
        GRPCInferenceServiceGrpc.newBlockingStub(channel)
            .withInterceptors(MetadataUtils.newAttachHeadersInterceptor(headers));
    try {
      var ready = ServerReadyRequest.getDefaultInstance();
      if (!stub.withDeadlineAfter(5, SECONDS).serverReady(ready).getReady()) {
        end(1, "refused: the server is not ready");
      }
    } catch (StatusRuntimeException e) {
      var cause = e.getStatus().getCause();
      end(3, "unreachable: " + (cause == null ? e.getMessage() : cause.getMessage()));
    }
    try {
      end(0, decide(stub, flags));
    } catch (StatusRuntimeException e) {
      var why = e.getStatus().getDescription();
      var code = e.getStatus().getCode();
      switch (code) {
        case RESOURCE_EXHAUSTED -> end(1, "shed: %s (pushback %d ms)", why, pushback(e));
        case DEADLINE_EXCEEDED -> end(1, "late: %s", why);
        default -> end(1, "refused: %s: %s", code, why);
      }
    }
  }

  /** Asks what the model takes, then for one row of zeros. */
  private static String decide(GRPCInferenceServiceBlockingStub stub, Map<String, String> flags)
      throws InterruptedException {
    var model = flags.getOrDefault("--model", "site-risk");
    var deadline = Long.parseLong(flags.getOrDefault("--deadline-ms", "10"));
    var asked = ModelMetadataRequest.newBuilder().setName(model).build();
    var takes = stub.withDeadlineAfter(5, SECONDS).modelMetadata(asked).getInputs(0);
    // The first dimension is the batch.
    var shape = takes.getShapeList().stream().skip(1).toList();
    var size = 4 * shape.stream().reduce(1L, (a, b) -> a * b).intValue();
    var request = ModelInferRequest.newBuilder().setModelName(model);
    request
        .addInputsBuilder()
        .setName(takes.getName())
        .setDatatype(takes.getDatatype())
        .addShape(1)
        .addAllShape(shape);
    request.addRawInputContents(ByteString.copyFrom(new byte[size]));
    var message = request.build();
    // A new JVM takes longer over its first call than a decision may: once without haste.
    stub.withDeadlineAfter(5, SECONDS).modelInfer(message);
    ModelInferResponse answer;
    try {
      answer = stub.withDeadlineAfter(deadline, MILLISECONDS).modelInfer(message);
    } catch (StatusRuntimeException e) {
      if (e.getStatus().getCode() != Status.Code.RESOURCE_EXHAUSTED || pushback(e) < 0) {
        throw e;
      }
      // Once, and not before the server said. A caller whose time is over would give up here.
      Thread.sleep(pushback(e));
      answer = stub.withDeadlineAfter(deadline, MILLISECONDS).modelInfer(message);
    }
    var raw = answer.getRawOutputContents(0).asReadOnlyByteBuffer();
    var score = raw.order(ByteOrder.LITTLE_ENDIAN).getFloat();
    var digest = answer.getParametersOrThrow("sluicegate_digest").getStringParam();
    return String.format(
        Locale.ROOT,
        "score=%.7f model=%s version=%s digest=%s",
        score,
        answer.getModelName(),
        answer.getModelVersion(),
        digest);
  }

  /** When another try may succeed, as the server says; below zero: never. */
  private static long pushback(StatusRuntimeException e) {
    var said = e.getTrailers() == null ? null : e.getTrailers().get(PUSHBACK);
    return said == null ? -1 : Long.parseLong(said);
  }

  private static Metadata.Key<String> header(String name) {
    return Metadata.Key.of(name, Metadata.ASCII_STRING_MARSHALLER);
  }

  private static void end(int code, String format, Object... values) {
    System.out.println(values.length == 0 ? format : String.format(format, values));
    System.exit(code);
  }
}
