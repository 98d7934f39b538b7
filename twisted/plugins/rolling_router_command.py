"""Drop-in: the command `twistd rolling-router`. Apart from the plugins, so that neither can take the other along."""

from twisted.application.service import ServiceMaker

rolling_router = ServiceMaker(
    "rolling router",
    "rolling_router.twistd",
    "A router for canary releases: splits an application's traffic between two versions.",
    "rolling-router",
)
