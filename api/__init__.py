"""The HTTP side: hot path, FastAPI routes, schemas, auth, problem responses."""
