"""The certificates of the vendors' stand-ins."""

from __future__ import annotations

import pytest

from tests.fakes.tls import Authority, make_authority


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Whom the app trusts in the tests of destinations."""
    return make_authority(tmp_path_factory.mktemp("ca"))
