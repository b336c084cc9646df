"""The examples in docstrings are run, and say what they print."""

import doctest
import importlib

import pytest
from conftest import ROOT

EXAMPLES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in sorted((ROOT / "bnstudy").rglob("*.py"))
    if ">>> " in path.read_text(encoding="utf-8")
]


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_print_what_they_say(name):
    failed, tried = doctest.testmod(importlib.import_module(name))
    assert tried and not failed
