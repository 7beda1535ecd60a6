"""What happened to the stock, told to the outside: event kinds, their JSON, and the log that keeps them in sequence."""
