"""Alerts: which SKUs run low or out, who was told, and what the shop's day looked like."""
