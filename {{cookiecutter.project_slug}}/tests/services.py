"""What tests do without the servers that they need."""

import pytest


def skip_or_fail(config: pytest.Config, reason: str) -> None:
    """Skip the test, but not where all services have to be there."""
    if config.getoption("require_services"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)
