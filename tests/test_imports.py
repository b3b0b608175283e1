"""Imports run one way only: the floors of docs/design.md, held by reading every import of the source."""

import ast
from dataclasses import dataclass
from pathlib import Path

import pytest

import datastack_fs

try:
    import tomllib
except ModuleNotFoundError:
    import tomli as tomllib

PACKAGE = Path(datastack_fs.__file__).parent
ROOT = Path(__file__).parents[1]

FLOORS = [
    {
        "errors",
        "identifiers",
        "checksums",
        "credentials",
        "deadline",
        "decompression",
        "members",
        "metrics",
        "processes",
        "promises",
        "threads",
        "translation",
    },
    {"resource", "resource_columns", "resources_plan", "read_ahead", "reading", "writing", "index_cache"},
    {"cache"},
    {"storage", "storage_access", "storage_cache", "iterators"},
    {"connectors", "metered", "plugins"},
    {
        "registry",
        "recognition",
        "retrieval",
        "preprocessing",
        "unpacking",
        "formats",
        "iterators.splits",
        "iterators.report",
        "training",
    },
    {
        "config_file",
        "config_schema",
        "profiles",
        "profile_choice",
        "config",
        "manifest",
        "lease",
        "factory",
        "stored_dataset",
    },
    {"bridges", "catalogue", "catalogue_factory", "catalogue_file", "catalogue_schema"},
    {"datasets", "known_datasets", "repository"},
    {"cli", "testing"},
]
"""From the ground up. A name stands for a module or for a package with all that is in it; the longest holds."""

FAMILIES = {
    "gcs": {"gcs", "fsspec", "obstore"},
    "s3": {"s3", "fsspec", "obstore"},
    "gridfs": {"gridfs", "fsspec"},
}
"""Connectors whose files may import those of another family: what runs on fsspec's loop shares it."""

UPWARD = {
    # An archive lies in any other store, which only the registry can name.
    ("connectors.archive", "registry"),
}


@dataclass(frozen=True)
class Import:
    """One import statement's name."""

    source: str
    target: str
    line: int
    lazy: bool

    def __str__(self):
        return f"{self.source}:{self.line} imports {self.target}"


def module_name(path):
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def source_files():
    files = [path for path in PACKAGE.rglob("*.py") if "connectors" not in path.relative_to(PACKAGE).parts]
    return sorted([*files, *(PACKAGE / "connectors").glob("*.py")])


MODULES = {module_name(path): path for path in source_files()}


def imports_of(module):
    """Every import of this package, also those within functions and for type checkers."""
    tree = ast.parse(MODULES[module].read_text())
    at_import = set(walk_at_import(tree.body))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}:{node.lineno}: a relative import"
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if is_ours(name) else node.module for name in inner]
        else:
            continue
        for name in names:
            if name == "datastack_fs" or name.startswith("datastack_fs."):
                yield Import(module, name.removeprefix("datastack_fs").lstrip("."), node.lineno, node not in at_import)


def is_ours(name):
    return name.removeprefix("datastack_fs.") in MODULES


def walk_at_import(body):
    """The nodes that run when the module is imported."""
    for node in body:
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            yield from walk_at_import(node.orelse)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        else:
            yield node
            for field in ("body", "orelse", "finalbody", "handlers"):
                yield from walk_at_import(getattr(node, field, []))


def floor(module):
    while module:
        for number, names in enumerate(FLOORS):
            if module in names:
                return number
        module = module.rpartition(".")[0]
    return None


ALL_IMPORTS = [found for module in MODULES for found in imports_of(module)]


def test_there_is_something_to_read():
    assert len(MODULES) > 30
    assert Import("storage", "resource", 0, False) in [
        Import(found.source, found.target, 0, found.lazy) for found in ALL_IMPORTS
    ]


@pytest.mark.parametrize("module", [module for module in MODULES if module])
def test_every_module_has_a_floor(module):
    assert floor(module) is not None, f"say in FLOORS where {module} stands"


def test_imports_never_go_up():
    up = [
        str(found)
        for found in ALL_IMPORTS
        # The package itself stands above all: its names are loaded lazily.
        if found.source
        and found.target
        and floor(found.target) > floor(found.source)
        and (found.source, found.target) not in UPWARD
    ]
    assert up == []


def test_nothing_below_the_command_imports_the_package_by_its_public_names():
    lazily_loaded = [str(found) for found in ALL_IMPORTS if not found.target and floor(found.source) < len(FLOORS) - 1]
    assert lazily_loaded == []


def test_the_core_does_not_import_connectors():
    by_name_only = [
        str(found)
        for found in ALL_IMPORTS
        if found.target.startswith("connectors") and floor(found.source) in range(len(FLOORS) - 3)
        if not found.source.startswith("connectors")
    ]
    assert by_name_only == []


def test_iterators_know_nothing_of_storage():
    others = [
        str(found)
        for found in ALL_IMPORTS
        if found.source.startswith("iterators")
        and not found.target.startswith(("iterators", "errors", "threads", "metrics"))
    ]
    assert others == []


def test_connectors_import_neither_iterators_nor_one_another():
    wrong = [
        str(found)
        for found in ALL_IMPORTS
        if found.source.startswith("connectors.") and found.target.startswith(("connectors.", "iterators", "formats"))
        if found.target.startswith(("iterators", "formats")) or family(found.target) not in allowed(found.source)
    ]
    assert wrong == []


def family(module):
    return module.partition(".")[2].partition("_")[0]


def allowed(module):
    return FAMILIES.get(family(module), {family(module)})


def test_no_import_goes_round():
    """At import time; within functions a module may name one that names it."""
    graph = {module: set() for module in MODULES}
    for found in ALL_IMPORTS:
        if not found.lazy and found.target in graph and found.source:
            graph[found.source].add(found.target)
    done = set()

    def visit(module, above):
        assert module not in above, " -> ".join([*above[above.index(module) :], module])
        if module not in done:
            for target in sorted(graph[module] - {module}):
                visit(target, [*above, module])
            done.add(module)

    for module in graph:
        visit(module, [])


def test_the_reader_would_notice(tmp_path, monkeypatch):
    bad = tmp_path / "bad.py"
    bad.write_text("def f():\n    from datastack_fs.connectors import file\n    import datastack_fs.cli.app\n")
    monkeypatch.setitem(MODULES, "errors", bad)
    found = list(imports_of("errors"))
    assert [(each.target, each.lazy) for each in found] == [("connectors.file", True), ("cli.app", True)]
    assert all(floor(each.target) > floor("errors") for each in found)


# The layout that the imports rest on.


def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_the_packages_list_names_every_folder():
    listed = set(project()["tool"]["setuptools"]["packages"])
    there = {
        f"datastack_fs.{name}".rstrip(".")
        for name in (module_name(path.parent / "__init__.py") for path in MODULES.values())
    }
    assert listed == there


def test_the_link_to_the_connectors_is_there():
    link = ROOT / "datastack_fs" / "connectors"
    assert link.is_symlink()
    assert str(link.readlink()) == "../connectors"
    assert project()["tool"]["setuptools"]["package-dir"] == {"datastack_fs.connectors": "connectors"}


def test_every_entry_point_is_there():
    found = project()["project"]
    targets = [*found["scripts"].values(), *found["entry-points"]["fsspec.specs"].values()]
    for target in targets:
        module, _, name = target.partition(":")
        assert hasattr(__import__(module, fromlist=[name]), name), target
