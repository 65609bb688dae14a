"""A small sample of tests/reliability.py, whose full counts stand in docs/reliability.md."""

import pytest
import reliability


@pytest.mark.slow
def test_nothing_is_lost(tmp_path):
    found = list(reliability.results(tmp_path / "ground", kills=3, stops=1))
    assert [(what, words) for what, passed, words in found if not passed] == []
    assert len(found) == len(reliability.CHECKS) + 3
