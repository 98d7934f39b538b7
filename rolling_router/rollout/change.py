"""
rollout.change: what can be done to a rollout, and the rules of it. Pure: operation and what is there -> keys to write.

Used by `control`, which reads and writes. The settings port and the command only make operations, and show what came of
them; every rule about what may be changed into what is here.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

import attrs

from rolling_router.errors import SettingError
from rolling_router.rollout.choices import Choice
from rolling_router.rollout.keys import NULL, parse_path, setting_keys, version_path
from rolling_router.rollout.model import Role, Version
from rolling_router.rollout.naming import find_version
from rolling_router.rollout.order import safe_order
from rolling_router.rollout.standing import Standing, Texts


@attrs.frozen
class Ground:
    """
    What a change is decided upon.

    :ivar choices: the versions that can be chosen.    :ivar strategies: names that stickiness may have.
    :ivar is_forced: whether the refusals that protect from mishaps are off. What makes no sense is still refused.
    """

    standing: Standing
    choices: Sequence[Choice]
    strategies: Collection[str]
    is_forced: bool = False


class Operation(Protocol):
    """
    What can be done to a rollout.

    :ivar what: its name in the history.    :ivar names_version: whether it has to know which versions a store lists.
    """

    @property
    def what(self) -> str: ...

    @property
    def names_version(self) -> bool: ...

    def aim(self, ground: Ground) -> Texts:
        """
        Say what the settings are to be. Where that is what they are, their texts stay as they are, letter by letter.

        :raises SettingError: it cannot be, or would do harm; the text names the thing, the value and the mend.
        """


@attrs.frozen
class Change:
    """
    What to write, for `IStore.put`.

    :ivar changes: in an order in which each state between is safe.    :ivar expected: what it was decided upon.
    :ivar aim: the settings when it is done.
    """

    changes: Mapping[str, str | None]
    expected: Mapping[str, str | None]
    aim: Texts


def decide(operation: Operation, ground: Ground) -> Change:
    """
    Work an operation out.

    :returns: `changes` is empty where all is as it is to be.
    :raises SettingError: from the operation.
    """
    standing = ground.standing
    aim = operation.aim(ground)
    before, after = standing.texts.as_keys(standing.app), aim.as_keys(standing.app)
    order = [key for key in safe_order(standing.app, standing.texts, aim) if before[key] != after[key]]
    changes = {key: after[key] for key in order}
    if (changes or isinstance(operation, SetUp)) and not standing.has_null:
        changes = {NULL: "-", **changes}  # the original's scripts write this key with the others, and may read it
    return Change(changes, before, aim)


def read_stickiness(text: str | bool) -> str:
    """
    What people and programs say for it -> the word of `SetStickiness`: ``on`` and ``off``, ``true`` and ``false``, too.
    """
    word = str(text).strip()
    return {"on": "1", "true": "1", "off": "0", "false": "0"}.get(word.lower(), word)


# Operations


@attrs.frozen
class SetUp:
    """
    Make the app's settings: what is named, and ``rolling/null``, 0 and 0 for what is not named and not there or not
    readable. What is there and not named stays.
    """

    stable: str | None = None
    candidate: str | None = None
    blend: int | None = None
    stickiness: str | None = None
    port: int | None = None
    what = "setup"
    names_version = True

    def aim(self, ground: Ground) -> Texts:
        texts, bad = ground.standing.texts, {problem.key for problem in ground.standing.problems}
        stable_key, candidate_key, blend_key, stickiness_key = setting_keys(ground.standing.app)
        aim = Texts(
            _kept(texts.stable, NULL, stable_key in bad and not _has_path(texts.stable)),
            _kept(texts.candidate, NULL, candidate_key in bad and not _has_path(texts.candidate)),
            _kept(texts.blend, "0", blend_key in bad),
            _kept(texts.stickiness, "0", stickiness_key in bad),
        )
        if self.stable is not None:
            aim = _with_version(aim, ground, Role.STABLE, self.stable, self.port)
        if self.candidate is not None:
            aim = _with_version(aim, ground, Role.CANDIDATE, self.candidate, self.port)
        if self.blend is not None:
            aim = _with_blend(aim, ground, self.blend)
        if self.stickiness is not None:
            aim = _with_stickiness(aim, ground, self.stickiness)
        return aim


@attrs.frozen
class SetStable:
    """Make a version stable, or none (``None``)."""

    version: str | None
    port: int | None = None
    what = "stable"
    names_version = True

    def aim(self, ground: Ground) -> Texts:
        return _with_version(_set_up(ground), ground, Role.STABLE, self.version, self.port)


@attrs.frozen
class SetCandidate:
    """Make a version the candidate, or none (``None``). Another than before begins with blend 0."""

    version: str | None
    port: int | None = None
    what = "candidate"
    names_version = True

    def aim(self, ground: Ground) -> Texts:
        return _with_version(_set_up(ground), ground, Role.CANDIDATE, self.version, self.port)


@attrs.frozen
class SetBlend:
    """Set how many percent go to the candidate."""

    percent: int
    what = "blend"
    names_version = False

    def aim(self, ground: Ground) -> Texts:
        return _with_blend(_set_up(ground), ground, self.percent)


@attrs.frozen
class SetStickiness:
    """Set how clients are made to stay: ``0`` not, ``1`` by the router's own choice, or a strategy's name."""

    word: str
    what = "stickiness"
    names_version = False

    def aim(self, ground: Ground) -> Texts:
        return _with_stickiness(_set_up(ground), ground, self.word)


@attrs.frozen
class Promote:
    """
    Make the candidate stable.

    :ivar version: the candidate that is meant; another one is refused. ``None``: whichever it is.
    """

    version: str | None = None
    what = "promote"
    names_version = False

    def aim(self, ground: Ground) -> Texts:
        texts, candidate = _set_up(ground), _named(ground.standing.texts.candidate)
        if candidate is None:
            stable = _named(texts.stable)
            if self.version is not None and stable is not None and stable.id == self.version:
                return _without_candidate(texts)  # done already
            raise SettingError("there is no candidate to promote; choose one first")
        if self.version is not None and self.version != candidate.id:
            raise SettingError(f"the candidate is {candidate.id}, not {self.version}; look again, then promote")
        if not ground.is_forced and not _instances(ground, candidate):
            key = setting_keys(ground.standing.app)[1]
            raise SettingError(
                f"the candidate {candidate.id} has no instance that could serve; start one, so that it is registered "
                f"below the path in {key}, or force it"
            )
        stable = _named(texts.stable)
        is_done = stable == candidate  # a promote that was interrupted, and is finished by this
        return _without_candidate(texts if is_done else attrs.evolve(texts, stable=texts.candidate))


@attrs.frozen
class RollBack:
    """Take all traffic off the candidate, and let it go. Stable is untouched."""

    what = "rollback"
    names_version = False

    def aim(self, ground: Ground) -> Texts:
        return _without_candidate(_set_up(ground))


@attrs.frozen
class Restore:
    """
    Put a former whole setting back, letter by letter.

    :ivar texts: as they were; an absent one is removed.
    """

    texts: Texts
    what: str = "restore"
    names_version = False

    def aim(self, ground: Ground) -> Texts:
        stable = _named(self.texts.stable)
        if stable != _named(ground.standing.texts.stable):
            _check_can_replace_stable(ground, stable)
        return self.texts


# Their parts


def _set_up(ground: Ground) -> Texts:
    """:raises SettingError: when there is nothing to change yet."""
    if not ground.standing.is_set_up:
        app = ground.standing.app
        raise SettingError(f"the app {app} is not set up in this store; set it up first, or mend the app's name")
    return ground.standing.texts


def _kept(text: str | None, default: str, is_bad: bool) -> str:
    return default if text is None or is_bad else text


def _without_candidate(texts: Texts) -> Texts:
    return attrs.evolve(_at_blend(texts, 0), candidate=_path(texts.candidate, None))


def _with_blend(aim: Texts, ground: Ground, percent: int) -> Texts:
    if isinstance(percent, bool) or not isinstance(percent, int) or not 0 <= percent <= 100:
        raise SettingError(f"blend is {percent!r}; it must be a whole number from 0 to 100")
    if percent and _named(aim.candidate) is None and not ground.is_forced:
        raise SettingError(f"blend is {percent}, and there is no candidate to send that share to; choose one first")
    return _at_blend(aim, percent)


def _at_blend(texts: Texts, percent: int) -> Texts:
    same = texts.blend is not None and texts.blend.strip() == str(percent)
    return texts if same else attrs.evolve(texts, blend=str(percent))


def _with_stickiness(aim: Texts, ground: Ground, word: str) -> Texts:
    if word not in ("0", "1", *ground.strategies):
        known = ", ".join(sorted(ground.strategies))
        if not ground.is_forced or not word.isprintable() or not word.strip():
            raise SettingError(f"stickiness is {word!r}; it must be on (1), off (0) or one of: {known}")
    same = aim.stickiness is not None and aim.stickiness.strip() == word
    return aim if same else attrs.evolve(aim, stickiness=word)


def _with_version(aim: Texts, ground: Ground, role: Role, version: str | None, port: int | None) -> Texts:
    """:param version: ``None`` or ``rolling/null`` for none."""
    before = _named(aim.stable if role is Role.STABLE else aim.candidate)
    other = _named(aim.candidate if role is Role.STABLE else aim.stable)
    wanted = None
    if version is not None and version != NULL:
        forced = ground.is_forced
        wanted = find_version(version, port, role, ground.choices, present=before, other=other, is_forced=forced)
    if wanted is not None and other is not None and wanted.id == other.id:
        mend = "promote it instead" if role is Role.STABLE else "choose another one"
        raise SettingError(f"{wanted.id} is the {role.other.value} version already; {mend}")
    if role is Role.CANDIDATE:
        aim = aim if wanted == before and wanted is not None else _at_blend(aim, 0)
        return attrs.evolve(aim, candidate=_path(aim.candidate, wanted))
    if wanted != before:
        _check_can_replace_stable(ground, wanted)
    return attrs.evolve(aim, stable=_path(aim.stable, wanted))


def _check_can_replace_stable(ground: Ground, wanted: Version | None) -> None:
    """Nobody is to be cut off by mistake: what serves is not replaced by what cannot."""
    present = _named(ground.standing.texts.stable)
    if ground.is_forced or present is None or not _instances(ground, present):
        return
    if wanted is None:
        raise SettingError(
            f"{present.id} serves now, and without a stable version nobody is served; force it if it is meant"
        )
    if not _instances(ground, wanted):
        raise SettingError(
            f"the version {wanted.id} has no instance registered with port {wanted.port}, and {present.id} serves now; "
            "start one, or force it"
        )


def _named(text: str | None) -> Version | None:
    """The version that a role's text names; ``None`` for none, also where it cannot be read."""
    try:
        path = parse_path(text or NULL)
    except ValueError:
        return None
    return None if path is None else Version(*path)


def _has_path(text: str | None) -> bool:
    return _named(text) is not None


def _path(text: str | None, wanted: Version | None) -> str:
    """The text of a role's key: the one that is there if it says the same."""
    if text is not None:
        try:
            path = parse_path(text)
        except ValueError:
            pass
        else:
            if path == (None if wanted is None else (wanted.id, wanted.port)):
                return text
    return NULL if wanted is None else version_path(wanted.id, wanted.port)


def _instances(ground: Ground, version: Version) -> int:
    return sum(one.instances for one in ground.choices if (one.id, one.port) == (version.id, version.port))
