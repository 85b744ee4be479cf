"""What several test files share. Tests import from here, never from one another or from conftest.py."""

import pytest

pytest.register_assert_rewrite("support.processes", "support.hub_client", "support.example_training")
