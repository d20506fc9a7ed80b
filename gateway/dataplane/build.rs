//! Compiles proto/ with protox, so that no protoc has to be installed.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let include = "../../proto";
    let files = ["open_inference.proto", "health.proto"];
    println!("cargo:rerun-if-changed={include}");
    let descriptors = protox::compile(files, [include])?;
    prost_build::Config::new()
        // Tensor bytes are slices of the received frame, not copies.
        .bytes([".inference"])
        .compile_fds(descriptors)?;
    Ok(())
}
