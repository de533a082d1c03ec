"""Applications that do what the service does, with nothing around it."""
