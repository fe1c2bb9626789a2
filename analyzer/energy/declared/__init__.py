"""What users may declare in a TOML file: technologies, conventions and memory models."""
