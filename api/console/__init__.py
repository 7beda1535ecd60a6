"""The web console at /console: pages made on the server, made live by a little script of our own.

Owns what people see and press; never a rule of the shop: every page calls what the API's routes call.
"""
