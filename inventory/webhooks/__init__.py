"""Webhooks: who is told about which events, and the signed requests that tell them."""
