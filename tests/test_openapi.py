"""The API's contract for programs: it is valid, and it and the page for people tell the same routes."""

from __future__ import annotations

import json
import re

from openapi_spec_validator import validate

from rolling_router.admin.api import Api
from rolling_router.admin.problems import TITLES
from tests.outside import ROOT

CONTRACT = json.loads((ROOT / "web" / "openapi.json").read_text("utf-8"))
PAGE = (ROOT / "docs" / "api.md").read_text("utf-8")


def routes():
    """Method and path of each route below /api/v1/."""
    rules = Api.app.url_map.iter_rules()
    return {
        (method, rule.rule) for rule in rules for method in rule.methods - {"HEAD"} if rule.rule.startswith("/api/v1/")
    }


def test_the_contract_is_valid():
    validate(CONTRACT)


def test_the_contract_has_every_route_and_no_other():
    told = {(method.upper(), path) for path, item in CONTRACT["paths"].items() for method in item}
    assert told == routes()


def test_the_page_has_every_route():
    for method, path in routes():
        short = path.replace("/api/v1/settings/candidate", "…/candidate")
        assert re.search(rf"^\|[^|]*`(?:{method} )?{re.escape(short)}`", PAGE, re.MULTILINE), (method, path)


def test_the_page_tells_every_code_of_a_problem():
    missing = [code for code in TITLES if f"`{code}`" not in PAGE]
    assert missing == []
