"""Reconciliation: counters, live holds, journal and ledger held against each other under load, and drift repaired."""
