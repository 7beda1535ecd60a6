"""The commands that talk to a service over HTTP, one file a topic, and what they share (session, output, lists)."""
