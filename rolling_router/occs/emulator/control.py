"""occs.emulator.control: `/faults` and `/expire-token`, on a door of their own that is shut by default. Shapes only."""

from __future__ import annotations

from collections.abc import Callable

from rolling_router.errors import SettingError
from rolling_router.occs.emulator.accounts import Accounts
from rolling_router.occs.emulator.asked import Answer, Ask, Refusal, wrong_method
from rolling_router.occs.emulator.faults import Faults


class Control:
    """Sets faults while the emulator runs, without a token: whoever may reach the port may do it."""

    def __init__(self, faults: Callable[[], Faults], put: Callable[[Faults], None], accounts: Accounts) -> None:
        """:param put: puts other faults in force."""
        self._started_with = faults()
        self._faults = faults
        self._put = put
        self._accounts = accounts

    async def route(self, ask: Ask) -> Answer:
        """:raises Refusal: no such path, or a fault that cannot be set (422)."""
        if ask.path == "/faults":
            return self._set_faults(ask)
        if ask.path == "/expire-token" and ask.method == "POST":
            self._accounts.expire()
            return Answer.json(True)
        raise Refusal(404, "there are /faults (GET, PUT, DELETE) and /expire-token (POST)")

    def _set_faults(self, ask: Ask) -> Answer:
        if ask.method == "PUT":
            changes = ask.json()
            if not isinstance(changes, dict):
                raise Refusal(422, "the body must be an object of faults")
            try:
                self._put(self._faults().changed(changes))
            except SettingError as wrong:
                raise Refusal(422, str(wrong)) from None
        elif ask.method == "DELETE":
            self._put(self._started_with)
        elif ask.method != "GET":
            raise wrong_method(ask)
        return Answer.json(self._faults().as_json())
