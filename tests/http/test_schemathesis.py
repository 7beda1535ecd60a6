"""The OpenAPI document, taken at its word by a generator of requests: never a 5xx, never an answer that it lacks."""

from __future__ import annotations

import random

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.http.conftest import Shop
from tests.http.running import KEYS

EXAMPLES_AN_OPERATION = 15
SEED = random.randrange(2**32)


@pytest.mark.timeout(600)
def test_every_operation(one_shop: Shop) -> None:
    """Generated good and bad requests against each operation, with a key that may do everything."""
    base = one_shop.running.address("protocol")
    schema = schemathesis.openapi.from_url(f"{base}/openapi.json")
    headers = {"authorization": f"Bearer {KEYS['admin']}"}
    print(f"seed {SEED}")

    def ask(case: schemathesis.Case) -> None:
        case.call_and_validate(
            base_url=base,
            headers=headers,
            checks=[
                not_a_server_error,
                status_code_conformance,
                content_type_conformance,
                response_schema_conformance,
            ],
        )

    operations = 0
    for found in schema.get_all_operations():
        operation = found.ok()
        if operation.path in {"/metrics", "/admin/keys/{key_id}", "/inventory/events"}:
            continue
        operations += 1

        for mode in GenerationMode.POSITIVE, GenerationMode.NEGATIVE:
            run = given(case=operation.as_strategy(generation_mode=mode))(ask)
            run = seed(SEED)(run)
            run = settings(
                max_examples=EXAMPLES_AN_OPERATION,
                deadline=None,
                database=None,
                phases=[Phase.explicit, Phase.generate],
                suppress_health_check=list(HealthCheck),
            )(run)
            try:
                run()
            except Unsatisfiable:
                # An operation that takes nothing cannot be asked wrongly.
                assert mode is GenerationMode.NEGATIVE
                assert not operation.body
    assert operations > 20
