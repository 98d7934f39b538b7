"""occs.emulator.place: one of a service's containers, kept up: when it is over, there is another. For `deployment`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger

from rolling_router.occs.emulator.container import Container, Machine, State
from rolling_router.occs.emulator.host_ports import PortTaken
from rolling_router.occs.emulator.images import find
from rolling_router.occs.emulator.service_yaml import BadYaml, ServiceSpec

_log = Logger()

AGAIN_SECONDS = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
"""How long to wait after a container that ended by itself, and after each further one."""

STEADY_SECONDS = 30.0
"""Who ran for so long begins with the shortest wait again."""


class Place:
    """
    ``INDEX.SERVICE.DEPLOYMENT_ID``.

    :ivar container: the present one; ``None`` before the first, and between two.
    """

    def __init__(
        self,
        machine: Machine,
        deployment_id: str,
        service: str,
        index: int,
        spec: Callable[[], ServiceSpec],
        environment: Callable[[ServiceSpec], Mapping[str, str]],
        changed: Callable[[], None],
    ) -> None:
        """
        :param spec: the service as it is then, asked for each container.
        :param environment: its variables, expanded; may raise `BadYaml`.
        :param changed: called at each change of the container's state.
        """
        self.name = f"{index}.{service}.{deployment_id}"
        self.container: Container | None = None
        self._machine = machine
        self._deployment_id = deployment_id
        self._spec = spec
        self._environment = environment
        self._changed = changed
        self._is_wanted = True
        self._is_at_once = False
        self._waiting: Deferred[None] | None = None
        self._over = Deferred.fromCoroutine(self._keep_up())
        self._over.addErrback(lambda failure: _log.failure("{name} is given up", failure, name=self.name))

    @property
    def is_running(self) -> bool:
        return self.container is not None and self.container.state is State.RUNNING

    def stop(self) -> Deferred[None]:
        """Give it up; may be said again, when it must be sooner. Fires when nothing of it is left."""
        self._is_wanted = False
        self._go_on()
        if self.container is not None:
            self.container.stop(self._machine.faults().stop_seconds)
        over: Deferred[None] = Deferred()
        self._over.addCallback(over.callback)
        return over

    def restart(self) -> None:
        """Another container in the place of this one, without a wait between them."""
        self._is_at_once = True
        self._go_on()
        if self.container is not None:
            self.container.stop(self._machine.faults().stop_seconds)

    def _go_on(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.cancel()

    async def _keep_up(self) -> None:
        failures = 0
        await self._wait(self._machine.faults().ready_seconds)
        while self._is_wanted:
            self._is_at_once = False
            began = self._machine.reactor.seconds()
            await self._one_container()
            if self._machine.reactor.seconds() - began > STEADY_SECONDS:
                failures = 0
            if self._is_wanted and not self._is_at_once:
                await self._wait(AGAIN_SECONDS[min(failures, len(AGAIN_SECONDS) - 1)])
                failures += 1

    async def _one_container(self) -> None:
        """Until it is over, or cannot be."""
        spec = self._spec()
        container = Container(self._machine, self.name, self._deployment_id, spec, self._changed)
        image = find(self._machine.images, spec.image)
        if image is None:
            _log.error("{name}: nothing stands in for {image}; give --image", name=self.name, image=spec.image)
            return
        try:
            container.start(image, self._environment(spec))
        except (PortTaken, BadYaml, OSError, ValueError) as wrong:
            _log.error("{name} cannot start: {wrong}", name=self.name, wrong=wrong)
            return
        self.container = container
        self._changed()
        await container.over
        self.container = None
        self._changed()

    async def _wait(self, seconds: float) -> None:
        self._waiting = deferLater(self._machine.reactor, seconds)
        try:
            await self._waiting
        except CancelledError:
            pass  # by `_go_on`
        self._waiting = None
