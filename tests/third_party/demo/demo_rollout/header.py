"""A strategy for programs that keep no cookies: an answer names its version, and a request may name it again."""

from twisted.plugin import IPlugin
from zope.interface import implementer

from rolling_router.interfaces import IStrategy, IStrategyPlugin, Pin, SettingError

FIELD = b"X-Demo-Version"


@implementer(IPlugin, IStrategyPlugin)
class HeaderPlugin:
    name = "header-demo"
    description = "clients name the version that they want in X-Demo-Version"

    def make(self, app, options):
        if options:
            raise SettingError(f"the header-demo strategy has no options, so not {', '.join(options)}")
        return HeaderStrategy()


@implementer(IStrategy)
class HeaderStrategy:
    private_cookies = ()

    def recall(self, client, split):
        named = [text for name, text in client.headers if name.lower() == FIELD.lower()]
        for version in (split.stable, split.candidate):
            if version is not None and version.id.encode() in named:
                return Pin(version)
        return None

    def remember(self, client, split, pin):
        return [(FIELD, pin.version.id.encode())]
