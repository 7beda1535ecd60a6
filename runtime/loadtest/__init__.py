"""`holdfast loadtest`: a flash sale against a running service, judged by an account of its own."""
