"""`holdfast replay`: an order file of a real shop, played through the HTTP API and then held against it."""
