"""HTTP as this service speaks it: middleware, health, draining, pages, validators."""
