"""What the API asks Postgres, one file a subject. Functions take a Database and give frozen structs, never rows."""
