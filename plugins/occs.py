"""
occs: the keys of an Oracle Container Cloud Service. ``--store occs:https://MANAGER`` or ``--store occs:http://NODE:PORT``.

This much is loaded by every `twistd`; the rest, with its HTTP client, when such a store is opened.
"""

from __future__ import annotations

from twisted.plugin import IPlugin
from zope.interface import implementer

from rolling_router.interfaces import IStore, IStorePlugin, StoreContext


@implementer(IPlugin, IStorePlugin)
class OccsStorePlugin:
    """``--store occs:ADDRESS``."""

    name = "occs"
    description = "Oracle Container Cloud; occs:https://MANAGER, or occs:http://IP:PORT of a node to read from"

    def open(self, location: str, context: StoreContext) -> IStore:
        from .occs_place import open_at

        return open_at(location, context)
