"""Background jobs: the registry of all there are, and how one is run in the job process."""
