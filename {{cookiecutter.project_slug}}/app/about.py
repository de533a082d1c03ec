"""What the service says of itself."""

import tomllib
from pathlib import Path

from pydantic import BaseModel


class About(BaseModel):
    """Its name and the like; the texts stand in `about.toml`."""

    name: str
    description: str
    version: str
    documentation: str | None = None


def read_about() -> About:
    """The texts of `about.toml`."""
    text = (Path(__file__).parent / "about.toml").read_text(encoding="utf-8")
    return About.model_validate(tomllib.loads(text))
