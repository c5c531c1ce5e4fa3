"""The shape of the package: who imports whom, how long files are, where tests are."""

import ast
import graphlib
import importlib
import pathlib
import re
import subprocess
import sys

import pytest

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
PACKAGE = REPOSITORY / "uniwav_jax"
# Each room imports from rooms before it only.
ORDER = (
    {"errors", "types", "terminal"},
    {"codec"},  # stands alone: a network, its files, importers
    {"config"},
    {"parallel"},  # meshes and processes: knows batches, no task
    {"audio", "text"},
    {"data", "features"},
    {"measures"},  # formulas on arrays and texts
    {"losses"},  # formulas on arrays
    {"models"},
    {"tasks"},
    {"checkpoint"},
    {"inference"},
    {"export"},
    {"api"},  # a model ready for use; nothing before it knows training
    {"evaluation"},  # measures on arrays, files and models
    {"train"},
    {"main"},
    {"cli"},
)
LEVEL = {room: level for level, rooms in enumerate(ORDER) for room in rooms}


def room_of(path: pathlib.Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: pathlib.Path) -> set[str]:
    """Rooms of this package that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
            if node.module == "uniwav_jax":
                names = [f"uniwav_jax.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        found |= {n.split(".")[1] for n in names if n.startswith("uniwav_jax.")}
    return found


SOURCES = [p for p in sorted(PACKAGE.rglob("*.py")) if p != PACKAGE / "__init__.py"]


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_go_one_way(path):
    room = room_of(path)
    for other in imports(path) - {room}:
        assert LEVEL[other] < LEVEL[room], f"{path} ({room}) imports {other}"


def module_of(path: pathlib.Path) -> str:
    return ".".join(path.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__")


def test_no_modules_import_one_another_in_a_circle():
    """Imports inside functions count too."""
    graph = {module_of(path): set() for path in (*SOURCES, PACKAGE / "__init__.py")}
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                members = (f"{node.module}.{alias.name}" for alias in node.names)
                names = [name if name in graph else node.module for name in members]
            graph[module_of(path)] |= {name for name in names if name in graph}
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


def test_private_parts_of_jax_are_imported_in_one_file():
    """tests/parallel/test_jax_internals.py says what breaks when JAX moves them."""
    private = {str(p.relative_to(PACKAGE)) for p in SOURCES if "jax._src" in p.read_text()}
    assert private == {"parallel/jax_internals.py"}


def test_every_module_has_a_test_of_its_name():
    """tests/ mirrors the package, except for packages' own files."""
    modules = [p.relative_to(PACKAGE) for p in SOURCES if p.name != "__init__.py"]
    places = {module: module.with_name(f"test_{module.name}") for module in modules}
    assert pathlib.Path("cli/__main__.py") in places and pathlib.Path("types.py") in places
    missing = [
        str(m) for m, place in places.items() if not (REPOSITORY / "tests" / place).is_file()
    ]
    assert not missing


def test_files_stay_short():
    files = [p for p in REPOSITORY.rglob("*.py") if not set(p.parts) & {".venv", "build"}]
    long = {str(p): n for p in files if (n := len(p.read_text().splitlines())) > 400}
    assert not long


def test_core_runs_without_tensorflow_and_torch():
    """Nor does it import them where they are installed: that takes seconds."""
    program = (
        "import sys, uniwav_jax.main, uniwav_jax.train.loop, uniwav_jax.data.packed;"
        "print({'tensorflow', 'torch'} & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert result.stdout.strip() == "set()", result.stderr


def test_names_that_are_taken_from_our_modules_exist():
    """A function that moved must not be missed in a script that no other test runs."""
    sources = [p for f in ("uniwav_jax", "tools", "benchmarks", "tests") for p in python_files(f)]
    missing = []
    for path in sources:
        tree = ast.parse(path.read_text())
        names = [n for n in ast.walk(tree) if isinstance(n, ast.Name | ast.arg)]
        shadowed = {n.arg for n in names if isinstance(n, ast.arg)}
        shadowed |= {n.id for n in names if isinstance(getattr(n, "ctx", None), ast.Store)}
        modules = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("uniwav_jax"):
                for name in node.names:
                    full = f"{node.module}.{name.name}"
                    if (PACKAGE.parent / full.replace(".", "/")).with_suffix(".py").is_file():
                        modules[name.asname or name.name] = full
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                full = modules.get(node.value.id)
                if full and node.value.id not in shadowed and "export.torch" not in full:
                    try:
                        module = importlib.import_module(full)
                    except ModuleNotFoundError:  # torch and other extras
                        continue
                    if not hasattr(module, node.attr):
                        missing.append(f"{path.relative_to(REPOSITORY)}: {full}.{node.attr}")
    assert not missing


def python_files(folder: str) -> list[pathlib.Path]:
    return sorted((REPOSITORY / folder).rglob("*.py"))


RECIPES = sorted((REPOSITORY / "configs").glob("*.py"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.name)
def test_recipes_say_once_whose_their_numbers_are(path):
    described = ast.get_docstring(ast.parse(path.read_text()))
    assert re.search(r"uniwav train|launch/", described)
    assert "without a source are ours" in " ".join(described.lower().split())


def test_only_what_the_paper_states_is_called_the_papers():
    """Nothing that is reachable to us states its learning rates, K, crops, bands or updates."""
    stated = {"sample_rate", "hop"}
    for path in (*RECIPES, *(PACKAGE / "config").glob("*.py")):
        for line in path.read_text().splitlines():
            field = re.match(r"\s+(?:config\.)?([\w.]+).* = .*# .*\bpaper\b", line)
            assert not field or field[1] in stated, f"{path.name}: {line}"


def messages(path: pathlib.Path) -> list[str]:
    """Text that a user may see: strings, and in cli/ the docstrings, which are the help."""
    tree = ast.parse(path.read_text())
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, documented) and ast.get_docstring(node) and room_of(path) != "cli"
    }
    strings = [n for n in ast.walk(tree) if isinstance(n, ast.Constant) and id(n) not in docstrings]
    return [node.value for node in strings if isinstance(node.value, str)]


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_messages_name_no_file_that_pip_does_not_install(path):
    """Messages name a `uniwav` command or a config; a user may have no repository."""
    folders = r"\b(tools|configs|launch|tests|benchmarks|findings|docs|examples)/"
    for text in messages(path):
        assert not re.search(folders, text), text
        assert "pip install -e" not in text, text


def test_tasks_are_asked_and_not_named():
    """Only tasks/ and the configuration read a task's options; no other code compares its name."""
    found = []
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            inner = getattr(node, "value", None) if isinstance(node, ast.Attribute) else None
            options = isinstance(inner, ast.Attribute) and inner.attr in ("asr", "codec")
            options = options and ast.unparse(inner.value).endswith("config")
            compared = isinstance(node, ast.Compare) and ast.unparse(node.left).endswith(".task")
            if (options or compared) and room_of(path) not in ("tasks", "config"):
                found.append(f"{path.relative_to(PACKAGE)}:{node.lineno} {ast.unparse(node)}")
    assert not found
