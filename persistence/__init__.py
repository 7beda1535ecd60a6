"""The Postgres side: tables, migrations, the ledger writer, queries. Imports only plain types of the engine."""
