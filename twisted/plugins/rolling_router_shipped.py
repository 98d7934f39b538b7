"""Drop-in: the shipped strategies and stores, one instance each. Imports nothing heavy: every `twistd` reads it."""

from rolling_router_plugins.cookie import CookiePlugin
from rolling_router_plugins.file import FileStorePlugin
from rolling_router_plugins.ip_hash import IpHashPlugin
from rolling_router_plugins.occs import OccsStorePlugin

cookie = CookiePlugin()
file = FileStorePlugin()
ip_hash = IpHashPlugin()
occs = OccsStorePlugin()
