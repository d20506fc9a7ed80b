"""What a specialist is: `specialist.toml`, read and checked."""
