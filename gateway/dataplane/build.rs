//! Compiles proto/ with protox, so that no protoc has to be installed.

use std::error::Error;

use prost::Message;

fn main() -> Result<(), Box<dyn Error>> {
    let include = "../../proto";
    let files = [
        "open_inference.proto",
        "feedback.proto",
        "health.proto",
        "reflection_v1.proto",
        "reflection_v1alpha.proto",
    ];
    println!("cargo:rerun-if-changed={include}");
    let descriptors = protox::compile(files, [include])?;
    // What reflection answers with.
    let out = std::env::var("OUT_DIR")?;
    std::fs::write(
        format!("{out}/descriptors.bin"),
        descriptors.encode_to_vec(),
    )?;
    // Not a service of ours, so not among what reflection tells.
    let traces = protox::compile(["otlp_trace.proto"], [include])?;
    prost_build::Config::new().compile_fds(traces)?;
    prost_build::Config::new()
        // Tensor bytes are slices of the received frame, not copies.
        .bytes([".inference"])
        .compile_fds(descriptors)?;
    Ok(())
}
