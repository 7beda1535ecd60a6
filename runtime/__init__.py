"""Settings, embedded servers, the process supervisor and the `holdfast` command."""
