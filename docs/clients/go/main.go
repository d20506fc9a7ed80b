// One decision within a deadline: google.golang.org/grpc.
//
// Exit codes: 0 answered, 1 refused, 3 unreachable.
package main

import (
	"context"
	"encoding/binary"
	"flag"
	"fmt"
	"math"
	"os"
	"strconv"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	pb "sluicegate/client/inference"
)

//go:generate sh generate.sh

var (
	target      = flag.String("target", "127.0.0.1:8001", "HOST:PORT")
	model       = flag.String("model", "site-risk", "the model to ask")
	deadline    = flag.Int("deadline-ms", 10, "time for the answer")
	traceparent = flag.String("traceparent", "", "the trace that this call belongs to")
	token       = flag.String("token", "", "who calls; on a network only over TLS")
)

// pushback tells when another try may succeed, as the server says; below zero: never.
func pushback(trailer metadata.MD) time.Duration {
	if said := trailer.Get("grpc-retry-pushback-ms"); len(said) == 1 {
		if ms, err := strconv.Atoi(said[0]); err == nil {
			return time.Duration(ms) * time.Millisecond
		}
	}
	return -time.Millisecond
}

// decide asks what the model takes, then for one row of zeros.
func decide(ctx context.Context, stub pb.GRPCInferenceServiceClient) (string, time.Duration, error) {
	soon, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	told, err := stub.ModelMetadata(soon, &pb.ModelMetadataRequest{Name: *model})
	if err != nil {
		return "", 0, err
	}
	takes := told.Inputs[0]
	size := int64(4)
	// The first dimension is the batch.
	for _, n := range takes.Shape[1:] {
		size *= n
	}
	takes.Shape[0] = 1
	request := &pb.ModelInferRequest{
		ModelName: *model,
		Inputs: []*pb.ModelInferRequest_InferInputTensor{
			{Name: takes.Name, Datatype: takes.Datatype, Shape: takes.Shape},
		},
		RawInputContents: [][]byte{make([]byte, size)},
	}
	var trailer metadata.MD
	infer := func() (*pb.ModelInferResponse, error) {
		ctx, cancel := context.WithTimeout(ctx, time.Duration(*deadline)*time.Millisecond)
		defer cancel()
		return stub.ModelInfer(ctx, request, grpc.Trailer(&trailer))
	}
	answer, err := infer()
	if status.Code(err) == codes.ResourceExhausted && pushback(trailer) >= 0 {
		// Once, and not before the server said. A caller whose time is over would give up here.
		time.Sleep(pushback(trailer))
		answer, err = infer()
	}
	if err != nil {
		return "", pushback(trailer), err
	}
	score := math.Float32frombits(binary.LittleEndian.Uint32(answer.RawOutputContents[0]))
	digest := answer.Parameters["sluicegate_digest"].GetStringParam()
	return fmt.Sprintf("score=%.7f model=%s version=%s digest=%s",
		score, answer.ModelName, answer.ModelVersion, digest), 0, nil
}

func main() {
	flag.Parse()
	channel, err := grpc.NewClient(*target, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		end(3, "unreachable: %v", err)
	}
	defer channel.Close()
	stub := pb.NewGRPCInferenceServiceClient(channel)
	ctx := context.Background()
	if *traceparent != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "traceparent", *traceparent)
	}
	if *token != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+*token)
	}
	soon, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	server, err := stub.ServerReady(soon, &pb.ServerReadyRequest{})
	if err != nil {
		end(3, "unreachable: %s", status.Convert(err).Message())
	}
	if !server.Ready {
		end(1, "refused: the server is not ready")
	}
	answer, wait, err := decide(ctx, stub)
	why := status.Convert(err).Message()
	switch code := status.Code(err); code {
	case codes.OK:
		end(0, "%s", answer)
	case codes.ResourceExhausted:
		end(1, "shed: %s (pushback %d ms)", why, wait.Milliseconds())
	case codes.DeadlineExceeded:
		end(1, "late: %s", why)
	default:
		end(1, "refused: %s: %s", code, why)
	}
}

func end(code int, format string, values ...any) {
	fmt.Printf(format+"\n", values...)
	os.Exit(code)
}
