"""Generated gRPC stubs; made by `make stubs`, never edited."""
