"""`python -m app tasks`."""

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("startable")]
