"""occs.reasons: why a call failed, in words an operator can act on; the same words for the same cause. Pure."""

from __future__ import annotations

from typing import Any

from OpenSSL import SSL
from service_identity import VerificationError
from twisted.internet.error import ConnectError, ConnectionRefusedError, DNSLookupError, TimeoutError


def explained(wrong: BaseException, where: str) -> str:
    """:param where: the address that was called."""
    cause = _cause(wrong)
    if isinstance(cause, VerificationError):
        return f"the certificate of {where} is for another name; call it by the name that it has"
    if isinstance(cause, SSL.Error):
        return f"no TLS with {where}: {_tls_words(cause)}"
    if isinstance(cause, DNSLookupError):
        return f"{where} is a name that cannot be found; correct it, or look after the name server"
    if isinstance(cause, ConnectionRefusedError):
        return f"{where} refuses connections; look whether it runs"
    if isinstance(cause, TimeoutError):
        return f"{where} cannot be connected to: no answer; look whether it runs and the network leads there"
    if isinstance(cause, ConnectError):
        return f"{where} cannot be connected to: {cause.osError or cause}; look whether it runs"
    return f"{where} broke off its answer ({type(cause).__name__}); look whether it runs"


def _cause(wrong: BaseException) -> Any:
    """The innermost of the failures that Twisted's client wraps; the telling one where there are several."""
    while reasons := getattr(wrong, "reasons", None):
        causes = [one.value for one in reasons if hasattr(one, "value")]
        if not causes:
            break
        telling = [one for one in causes if isinstance(one, (SSL.Error, VerificationError)) or hasattr(one, "reasons")]
        wrong = (telling or causes)[0]
    return wrong


def _tls_words(wrong: SSL.Error) -> str:
    words = "; ".join(dict.fromkeys(text for *_, text in _entries(wrong) if text))
    if "certificate verify failed" in words:
        mend = "name it, or its authority's, in OCCS_CA"
        return f"{words}: it is by nobody we trust, for another name, or has run out; {mend}"
    return words or "the connection ended"


def _entries(wrong: SSL.Error) -> list[tuple[str, ...]]:
    found = wrong.args[0] if wrong.args else []
    return [one for one in found if isinstance(one, tuple)] if isinstance(found, list) else []
