"""Bodies of any bytes at all: read as Python, as Go reads them, or refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuzz import bodies, strict_json
from neuronetz_gateway.surfaces.surface import Endpoint
from tests.support.fuzzing import bent, bounded, pieces_of
from tests.support.mutations import Mutator
from tests.support.read_as_go import OPEN_RULES, RULES, check
from tests.support.valid_bodies import READING, SPEECHES, name_of

_SMALL = st.sampled_from([b'{"model":"a","x":[1,2.5,"b",{}]}', b'{"options":{"num_ctx":1},"k":null}'])


@pytest.mark.promise("N1", "N3")
@bounded(200)
@given(_SMALL.flatmap(lambda body: bent(body, strict_json.TARGET.words)) | pieces_of(strict_json.TARGET))
def test_any_bytes_are_one_document_to_all_decoders_or_refused(body: bytes) -> None:
    strict_json.check(body)


@pytest.mark.promise("N1", "N3")
@pytest.mark.parametrize("endpoint", READING, ids=name_of)
def test_a_reader_takes_any_object_as_ollama_does_or_refuses_it(endpoint: Endpoint) -> None:
    valid = [Mutator.as_written(body) for body in SPEECHES[endpoint.path].bodies()]

    @bounded(30)
    @given(st.sampled_from(valid).flatmap(lambda body: bent(body, bodies.TARGET.words)), st.booleans())
    def takes(body: bytes, open_: bool) -> None:
        check(endpoint, body, OPEN_RULES if open_ else RULES)

    takes()


@pytest.mark.full
@pytest.mark.timeout(900)
@pytest.mark.promise("N1", "N3")
def test_a_hundred_thousand_garbled_documents_are_one_to_all_decoders_or_refused() -> None:
    every = [body for speech in SPEECHES.values() for body in speech.bodies()]
    for body in Mutator(20261124).bodies(every, 100_000):
        strict_json.check(body)
