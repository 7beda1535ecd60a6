"""OpenTelemetry, where it is asked for: everything that imports its packages, and nothing else does."""
