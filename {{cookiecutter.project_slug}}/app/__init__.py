"""The service."""

from app.infra import garbage

# Before everything else is imported, which is not garbage.
garbage.spare_imports()
