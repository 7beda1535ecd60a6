"""The inventory service: what admins and order systems do with stock, as functions that API and worker both call."""
