"""twistd: what the drop-in names: the options and the maker, imported only when the command is used."""

from rolling_router.options import RouterOptions as Options
from rolling_router.service import make_service as makeService

__all__ = ["Options", "makeService"]
