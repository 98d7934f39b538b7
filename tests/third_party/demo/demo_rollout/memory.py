"""A store in memory, filled at the start from an environment variable that holds one JSON object."""

import json

from twisted.internet.defer import fail, succeed
from twisted.plugin import IPlugin
from zope.interface import implementer

from rolling_router.interfaces import Conflict, IStore, IStorePlugin, Reading, SettingError


@implementer(IPlugin, IStorePlugin)
class MemoryPlugin:
    name = "memory-demo"
    description = "memory-demo:VARIABLE, the keys of an environment variable"

    def open(self, location, context):
        if location not in context.environ:
            raise SettingError(f"the variable {location} is not set; it must hold the keys as one JSON object")
        return MemoryStore(location, json.loads(context.environ[location]))


@implementer(IStore)
class MemoryStore:
    is_atomic = True

    def __init__(self, location, keys):
        self.description = f"memory-demo:{location}"
        self._keys = keys
        self._changed = lambda: None

    def read(self, prefixes):
        return succeed(Reading({key: text for key, text in self._keys.items() if key.startswith(tuple(prefixes))}))

    def put(self, changes, expected):
        for key, text in expected.items():
            if self._keys.get(key) != text:
                return fail(Conflict(f"{key} is {self._keys.get(key)!r} by now, not {text!r}"))
        merged = {**self._keys, **changes}
        self._keys = {key: text for key, text in merged.items() if text is not None}
        self._changed()
        return succeed(None)

    def watch(self, changed):
        self._changed = changed

    def close(self):
        self._changed = lambda: None
        return succeed(None)
