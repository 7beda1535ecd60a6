"""What the script tests share: the state machine on the session's server, empty and opened."""

from __future__ import annotations

import pytest
import redis

from tests.scripts.machine import Machine


@pytest.fixture
def machine(redis_client: redis.Redis) -> Machine:
    return Machine(redis_client)
