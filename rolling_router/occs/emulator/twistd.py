"""occs.emulator.twistd: what the drop-in names, imported only when the command is used."""

from rolling_router.occs.emulator.options import EmulatorOptions as Options
from rolling_router.occs.emulator.service import make_service as makeService

__all__ = ["Options", "makeService"]
