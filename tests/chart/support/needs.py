"""Marker `needs(*tools)`: skips, by name, what needs a tool that is not there."""

import os
import shutil

import pytest


def pytest_configure(config):
    config.addinivalue_line("markers", "needs(*tools): programs that the test runs; `refresh-relay` is the one of RELAY_BINARY")


def pytest_runtest_setup(item):
    for mark in item.iter_markers("needs"):
        for tool in mark.args:
            if not there(tool):
                pytest.skip(f"{tool} cannot be had")


def there(tool):
    if tool == "refresh-relay":
        return "RELAY_BINARY" in os.environ
    return shutil.which(tool) is not None
