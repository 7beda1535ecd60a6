"""What can be asked of the service: one file a topic, each operation written once for both clients.

A method is a generator of effects (steps.py); `Client` and `AsyncClient` get every one of them from here.
"""
