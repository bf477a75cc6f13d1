"""Runs the tests beside this file; returns 77, "skipped", where there is no pytest."""

import importlib.util
import pathlib
import sys

if importlib.util.find_spec("pytest") is None:
    print(f"skipped: {sys.executable} has no pytest (see python/requirements-test.txt)")
    sys.exit(77)

import pytest

sys.dont_write_bytecode = True  # nothing is written into the source tree
sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", str(pathlib.Path(__file__).parent), *sys.argv[1:]]))
