"""occs.emulator.manager: which route answers what on the manager's port, who may ask, and when it is safely kept."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from rolling_router.occs.emulator import account_routes, kv_routes
from rolling_router.occs.emulator.accounts import Accounts
from rolling_router.occs.emulator.asked import Answer, Ask, Refusal, unauthorized
from rolling_router.occs.emulator.deployment_routes import DeploymentRoutes
from rolling_router.occs.emulator.faults import Faults
from rolling_router.occs.emulator.keyvalues import KeyValues


class Manager:
    """The REST API."""

    def __init__(
        self,
        accounts: Accounts,
        entries: KeyValues,
        deployments: DeploymentRoutes,
        faults: Callable[[], Faults],
        save: Callable[[], Awaitable[None]],
    ) -> None:
        """:param save: waits until all that is known now is on disk; fails with an OSError."""
        self._accounts = accounts
        self._entries = entries
        self._deployments = deployments
        self._faults = faults
        self._save = save

    async def route(self, ask: Ask) -> Answer:
        """:raises Refusal: whatever cannot be answered well."""
        if ask.path in account_routes.PATHS:
            before = self._accounts.kept
            answer = account_routes.answer(ask, self._accounts)
            if self._accounts.kept is not before:
                await self._keep()
            return answer
        if (answered := self._deployments.open_answer(ask)) is not None:
            await self._keep()
            return answered
        if not self._accounts.is_bearer(ask.authorization):
            raise unauthorized()
        if ask.path.startswith(kv_routes.PREFIX):
            return await self._kv(ask)
        answer = self._deployments.answer(ask)
        if ask.method != "GET":
            await self._keep()
        return answer

    async def _kv(self, ask: Ask) -> Answer:
        key = ask.path.removeprefix(kv_routes.PREFIX)
        if ask.method == "GET":
            return kv_routes.read(ask, key, self._entries, self._faults().missing)
        answer = kv_routes.write(ask, key, self._entries)
        await self._keep()
        return answer

    async def _keep(self) -> None:
        try:
            await self._save()
        except OSError as wrong:
            raise Refusal(500, f"the state cannot be saved: {wrong.strerror}") from None
