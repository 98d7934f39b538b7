"""What `make fast` compiles: the list is true, and nobody else is made to wait for it."""

import os
import runpy
from pathlib import Path

import pytest
import setuptools

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def said(monkeypatch):
    """What setup.py hands to setuptools, by what the environment asks for."""

    def ask(environ):
        told = {}
        monkeypatch.setattr(setuptools, "setup", told.update)
        monkeypatch.setattr(os, "environ", environ)
        return runpy.run_path(str(ROOT / "setup.py")), told

    return ask


@pytest.mark.parametrize("environ", [{}, {"ROLLING_ROUTER_COMPILE": ""}, {"ROLLING_ROUTER_COMPILE": "0"}])
def test_nothing_is_compiled_unless_asked_for(said, environ):
    assert said(environ)[1] == {"ext_modules": []}


def test_what_is_compiled_is_there_and_only_once(said):
    compiled = said({})[0]["COMPILED"]
    assert len(set(compiled)) == len(compiled)
    assert [name for name in compiled if not (ROOT / name).is_file()] == []
