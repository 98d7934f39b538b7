"""The rolling router: exact, sticky, weighted routing between two versions of a web application."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("rolling-router")
except PackageNotFoundError:  # a bare checkout on PYTHONPATH, never installed
    __version__ = "0+checkout"
