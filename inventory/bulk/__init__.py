"""Stock and catalogue changed by file: what is read, what it would change, and how all of it is done or none."""
