"""The pulse: what every process counts and how it is, told once a second, and put together for whoever watches."""
