"""What the generated service costs, beside applications that do nothing but the one thing."""
