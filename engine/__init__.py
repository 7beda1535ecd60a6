"""The Redis side of Holdfast: commands in, results out. The public names are listed here; see docs/engine.md."""
