"""What the generated service costs, beside applications that do nothing but the one thing."""

import sys
from pathlib import Path

# The images of the docs are drawn alike.
sys.path.append(str(Path(__file__).parents[1] / "scripts"))
