"""Drop-in: the command `twistd occs-emulator`. Apart from the router's, so that neither can take the other along."""

from twisted.application.service import ServiceMaker

occs_emulator = ServiceMaker(
    "OCCS emulator",
    "rolling_router.occs.emulator.twistd",
    "A local Oracle Container Cloud Service: its REST API, key-value store and containers, for trying things out.",
    "occs-emulator",
)
