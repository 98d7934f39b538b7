"""The rooms' imports run one way, as docs/architecture.md has it; and nobody reaches for the global reactor."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = "rolling_router"

# Room -> what it may import of the project, besides itself. A room is a package, or a module at the top.
MAY_IMPORT = {
    "errors": set(),
    "interfaces": {"errors", "rollout.model"},
    "disk": set(),
    "starting": {"errors"},
    "endpoints": set(),
    "rollout": {"disk", "errors", "interfaces"},
    "routing": {"errors", "interfaces", "rollout.model"},
    "health": {"routing", "rollout.model"},
    "probes": {"endpoints", "health", "routing", "rollout.model"},
    "proxy": {"endpoints", "errors", "interfaces", "routing", "health", "rollout.model"},
    "observe": {"errors", "routing", "rollout"},
    "admin": {"disk", "errors", "observe", "rollout"},
    "occs_sign_in": {"admin", "errors", "interfaces", "occs", "registry", "rollout"},
    "registry": {"errors", "interfaces"},
    "options": {"errors", "health", "observe.access_log", "proxy", "rollout.keys"},
    "steering": {
        "admin",
        "interfaces",
        "observe",
        "occs_sign_in",
        "options",
        "rollout",
        "traffic.callers",
        "traffic.ports",
        "traffic.sockets",
    },
    "departure": {"observe.figures", "starting"},
    "environment": {"errors", "options"},
    "traffic": {"errors", "probes", "observe", "options", "proxy", "routing", "rollout"},
    "occs": {"disk", "endpoints", "errors", "starting"},
    "delivery": {"errors", "interfaces", "occs", "rollout"},
    "plugins": {"interfaces", "occs"},
}
COMPOSERS = {"", "service", "twistd", "cli"}


def modules() -> dict[str, Path]:
    """Dotted name within the project -> file; the plugins under ``plugins``."""
    found = {}
    for path in sorted((ROOT / PACKAGE).rglob("*.py")):
        parts = path.relative_to(ROOT / PACKAGE).with_suffix("").parts
        found[".".join(part for part in parts if part != "__init__")] = path
    for path in sorted((ROOT / "plugins").glob("*.py")):
        found["plugins" if path.stem == "__init__" else f"plugins.{path.stem}"] = path
    return found


def imported(tree: ast.AST) -> set[str]:
    """The project's modules that are imported, anywhere in the file."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    known = set(modules())
    inside = {name.removeprefix(PACKAGE).removeprefix(".") for name in names if name.split(".")[0] == PACKAGE}
    return {name for name in inside & known if name and not any(one.startswith(f"{name}.") for one in inside & known)}


def is_allowed(name: str, room: str) -> bool:
    allowed = MAY_IMPORT[room] | {room}
    return any(name == one or (one and name.startswith(f"{one}.")) for one in allowed)


@pytest.mark.parametrize("module", [name for name in modules() if name.split(".")[0] not in COMPOSERS])
def test_a_room_imports_only_what_it_may(module):
    room = module.split(".")[0]
    assert room in MAY_IMPORT, f"{room} is a new room: say in docs/architecture.md and here what it may import"
    wrong = [name for name in imported(ast.parse(modules()[module].read_text())) if not is_allowed(name, room)]
    assert wrong == []


@pytest.mark.parametrize("module", modules())
def test_only_the_composers_know_the_global_reactor_and_only_inside_a_function(module):
    tree = ast.parse(modules()[module].read_text())
    top = {id(node) for node in tree.body}
    for node in ast.walk(tree):
        is_internet = isinstance(node, ast.ImportFrom) and node.module == "twisted.internet"
        if is_internet and any(alias.name == "reactor" for alias in node.names):
            assert module in ("service", "cli.command", "occs.emulator.service")
            assert id(node) not in top


def test_the_table_names_no_room_that_is_gone():
    assert set(MAY_IMPORT) <= {name.split(".")[0] for name in modules()}
