"""The judge has teeth: each kind of failure is seen, and what may be is let pass."""

from __future__ import annotations

import attrs
import pytest

from .journal import Journal
from .judge import LOST, Judge, Outcome
from .record import Death, Handover, InForce, Record, Rollout

NAMES = {"1": ("a", "b", "c"), "2": ("a", "b"), "3": ("c",)}
BOTH = Rollout("1", "2", 50, "0", NAMES)
GONE = attrs.evolve(BOTH, names={**NAMES, "1": ("c",)})
ANSWERED = Outcome("0-1", "GET", True, False, None, 10.0, 10.1, 10.2, 200, ("1", "a"), "whole")
REFUSED = attrs.evolve(ANSWERED, status=502, name=None, end="refused", text=f"502 Bad Gateway\n\n{LOST[0]}\n")
POSTED = attrs.evolve(REFUSED, method="POST", can_be_done_twice=False)
SOCKET = attrs.evolve(ANSWERED, can_be_done_twice=False, is_socket=True, status=101, name=("1", "b"))
STREAM = attrs.evolve(ANSWERED, end="ended", ended=20.0)
A_DIED, B_DIED = Death(("1", "a"), 10.05, 10.06, 11.0), Death(("1", "b"), 10.1, 10.15, 11.0)


def judged(outcome, *came, states=None, deaths=(), handovers=()):
    judge = Judge(Record(5.0, list(states or [InForce(BOTH, 0.0)]), list(deaths), list(handovers)))
    journal = Journal({}, {outcome.number: list(came)} if came else {})
    judge.judge([outcome], journal)
    judge.end(journal)
    return judge.wrong


def changed(*rollouts):
    """One after the other, a second each, from 0 on; a change takes 0.1 s."""
    last = len(rollouts) - 1
    return [InForce(one, at, float("inf") if at == last else at + 1.1) for at, one in enumerate(rollouts)]


def alone(blend, **more):
    return [InForce(attrs.evolve(BOTH, blend=blend, **more), 0.0)]


RIGHT = {
    "an answer": (ANSWERED, ["1a"], {}),
    "of the candidate": (attrs.evolve(ANSWERED, name=("2", "b")), ["2b"], {}),
    "of stable, for a candidate that died": (
        ANSWERED,
        ["1a"],
        {"states": alone(100), "deaths": [Death(("2", "a"), 1.0, 1.1, 2.0), Death(("2", "b"), 9.0, 9.1)]},
    ),
    "of stable, for a candidate without instances": (
        ANSWERED,
        ["1a"],
        {"states": alone(100, names={**NAMES, "2": ()})},
    ),
    "of what was in force as it came": (
        attrs.evolve(ANSWERED, name=("3", "c"), began=1.05, head_at=1.2, ended=1.3),
        ["3c"],
        {"states": changed(attrs.evolve(BOTH, stable="3"), BOTH)},
    ),
    "a second instance, for the first died": (
        attrs.evolve(ANSWERED, name=("1", "b")),
        ["1a", "1b"],
        {"deaths": [A_DIED]},
    ),
    "an upload of which nothing was sent before the first died": (
        attrs.evolve(ANSWERED, method="PUT", can_be_done_twice=False, name=("1", "b")),
        ["1a", "1b"],
        {"deaths": [A_DIED]},
    ),
    "a POST whose instance died": (POSTED, ["1a"], {"deaths": [A_DIED]}),
    "a POST whose instance died before it read": (POSTED, [], {"deaths": [A_DIED]}),
    "a GET both of whose instances died": (REFUSED, ["1a", "1b"], {"deaths": [A_DIED, B_DIED]}),
    "a HEAD both of whose instances died": (
        attrs.evolve(REFUSED, method="HEAD", text=""),
        ["1a", "1b"],
        {"deaths": [A_DIED, B_DIED]},
    ),
    "an answer whose instance died": (attrs.evolve(ANSWERED, end="cut"), ["1a"], {"deaths": [A_DIED]}),
    "a stream of an instance that left": (
        STREAM,
        ["1a"],
        {"states": [InForce(BOTH, 0.0, 13.0), InForce(GONE, 12.0)]},
    ),
    "a stream of an instance that left, and came back at that moment": (
        attrs.evolve(STREAM, ended=17.5),
        ["1a"],
        {"states": [InForce(BOTH, 0.0, 13.0), InForce(GONE, 12.0, 17.6), InForce(BOTH, 17.2)]},
    ),
    "a stream at a hand-over": (STREAM, ["1a"], {"handovers": [Handover(19.0, 24.0)]}),
}

WRONG = {
    "nobody": (attrs.evolve(ANSWERED, end="nothing", name=None), [], {}),
    "a mixed-up answer": (attrs.evolve(ANSWERED, end="wrong"), ["1a"], {}),
    "an answer from nowhere": (ANSWERED, ["1b"], {}),
    "an error of the instance's": (attrs.evolve(ANSWERED, status=500), ["1a"], {}),
    "the candidate at 0": (attrs.evolve(ANSWERED, name=("2", "a")), ["2a"], {"states": alone(0)}),
    "stable at 100": (ANSWERED, ["1a"], {"states": alone(100)}),
    "stable at 100, though an instance of the candidate lived": (
        ANSWERED, ["1a"], {"states": alone(100), "deaths": [Death(("2", "a"), 9.0)]}
    ),
    "a version without a role": (attrs.evolve(ANSWERED, name=("3", "c")), ["3c"], {}),
    "a version that had left": (
        attrs.evolve(ANSWERED, name=("3", "c"), began=1.2, head_at=1.3, ended=1.4), ["3c"],
        {"states": changed(attrs.evolve(BOTH, stable="3"), BOTH)},
    ),
    "a pin to a version": (attrs.evolve(ANSWERED, pin=("2", "a")), ["1a"], {"states": alone(50, sticky="cookie")}),
    "a pin to an instance": (attrs.evolve(ANSWERED, pin=("1", "b")), ["1a"], {"states": alone(50, sticky="cookie")}),
    "sent twice for nothing": (ANSWERED, ["1a", "1b"], {}),
    "a POST sent twice": (attrs.evolve(POSTED, end="whole", status=200, name=("1", "b")), ["1a", "1b"], {
        "deaths": [A_DIED]
    }),
    "a WebSocket asked for twice": (SOCKET, ["1a", "1b"], {"deaths": [A_DIED]}),
    "sent three times": (REFUSED, ["1a", "1b", "1c"], {"deaths": [A_DIED, B_DIED]}),
    "a GET refused, though only one died": (REFUSED, ["1a"], {"deaths": [A_DIED]}),
    "a POST refused, though nobody died": (POSTED, ["1a"], {}),
    "a POST refused, though another one died": (POSTED, ["1b"], {"deaths": [A_DIED]}),
    "another refusal": (attrs.evolve(POSTED, status=503, text="Nobody can."), ["1a"], {"deaths": [A_DIED]}),
    "an answer cut": (attrs.evolve(ANSWERED, end="cut"), ["1a"], {"deaths": [B_DIED]}),
    "a stream of an instance that stayed": (STREAM, ["1a"], {}),
    "a stream of an instance that came back in time": (
        STREAM,
        ["1a"],
        {"states": [InForce(BOTH, 0.0, 13.0), InForce(GONE, 12.0, 15.6), InForce(BOTH, 15.2)]},
    ),
    "a stream that ended too early": (attrs.evolve(STREAM, ended=14.0), ["1a"], {
        "states": [InForce(BOTH, 0.0, 13.0), InForce(GONE, 12.0)]
    }),
}  # fmt: skip


@pytest.mark.parametrize("what", RIGHT)
def test_what_may_be_is_let_pass(what: str) -> None:
    outcome, came, more = RIGHT[what]
    assert judged(outcome, *map(tuple, came), **more) == []


@pytest.mark.parametrize("what", WRONG)
def test_what_must_not_be_is_seen(what: str) -> None:
    outcome, came, more = WRONG[what]
    assert judged(outcome, *map(tuple, came), **more) != []


def test_what_reaches_an_instance_when_its_client_is_gone_is_seen() -> None:
    judge = Judge(Record(5.0))
    judge.end(Journal({}, {"0-7": [("1", "a")]}))
    assert judge.wrong == ["0-7 reached [('1', 'a')] when it was over"]
