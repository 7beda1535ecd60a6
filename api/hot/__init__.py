"""The hot path: reserve, confirm, release, amend, read, availability and batch, without FastAPI in the way.

`endpoints.py` says which paths are hot; `protocol.py` and `asgi.py` are the two ways in.
"""
