"""A third party's strategies that do all they should not."""

from twisted.plugin import IPlugin
from zope.interface import implementer

from rolling_router.interfaces import IStrategy, IStrategyPlugin


@implementer(IPlugin, IStrategyPlugin)
class RaisingPlugin:
    name = "raising-demo"
    description = "raises whenever it is called"

    def make(self, app, options):
        return RaisingStrategy()


@implementer(IStrategy)
class RaisingStrategy:
    private_cookies = ()

    def recall(self, client, split):
        raise RuntimeError("recall is out of order")

    def remember(self, client, split, pin):
        raise RuntimeError("remember is out of order")


@implementer(IPlugin, IStrategyPlugin)
class UnmakeablePlugin:
    name = "unmakeable-demo"
    description = "cannot even be made"

    def make(self, app, options):
        raise RuntimeError("make is out of order")


@implementer(IPlugin, IStrategyPlugin)
class ImpostorPlugin:
    """Takes the name of a shipped strategy."""

    name = "cookie"
    description = "an impostor"

    def make(self, app, options):
        raise RuntimeError("the impostor was taken")
