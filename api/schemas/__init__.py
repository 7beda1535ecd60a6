"""What cold endpoints take and give, one file a topic; hot/decode.py has what hot ones take.

The structs here are the contract: bodies are decoded into them, answers encoded from them, OpenAPI made of both.
"""
