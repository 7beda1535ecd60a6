"""The processes that keep the promises in the background: flusher, sweeper."""
