"""Rules for the package: which modules may import which, length of files, names of tests."""

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
# Each folder or module of the package imports only from those in the lines before it.
ORDER = (
    {"errors", "types", "terminal"},
    {"codec"},  # an independent part: a network, its files, importers
    {"config"},
    {"parallel"},  # meshes and processes, for batches of any task
    {"audio", "text"},
    {"data", "features"},
    {"measures"},  # functions of arrays and texts
    {"losses"},  # functions of arrays
    {"tokens"},  # a value and its files
    {"models"},
    {"tasks"},
    {"abilities"},
    {"checkpoint"},
    {"inference"},
    {"export"},
    {"api"},  # models for users; neither this nor the folders before it import training
    {"evaluation"},  # measures on arrays, files and models
    {"demo"},  # a page of gradio
    {"train"},
    {"main"},
    {"cli"},
)
LEVEL = {part: level for level, parts in enumerate(ORDER) for part in parts}


def part_of(path: pathlib.Path) -> str:
    """The folder or module at the top of the package that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: pathlib.Path) -> set[str]:
    """Folders and modules at the top of the package that a file imports."""
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
def test_imports_follow_the_order(path):
    part = part_of(path)
    for other in imports(path) - {part}:
        assert LEVEL[other] < LEVEL[part], f"{path} ({part}) imports {other}"


def module_of(path: pathlib.Path) -> str:
    return ".".join(path.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__")


def test_there_are_no_circular_imports():
    """Imports inside functions count too."""
    graph = {module_of(path): set() for path in (*SOURCES, PACKAGE / "__init__.py")}
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                members = (f"{node.module}.{alias.name}" for alias in node.names)
                names = [name if name in graph else node.module for name in members]
            graph[module_of(path)] |= {name for name in names if name in graph}
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError, which names the cycle


def test_private_parts_of_jax_are_imported_in_one_file():
    """tests/parallel/test_jax_internals.py shows what breaks if JAX moves them."""
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
    """They are not imported even if they are installed, because that takes seconds."""
    program = (
        "import sys, uniwav_jax.main, uniwav_jax.train.loop, uniwav_jax.data.packed;"
        "print({'tensorflow', 'torch'} & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert result.stdout.strip() == "set()", result.stderr


def test_attributes_of_our_modules_exist():
    """Renamed functions are found even in scripts that no other test runs."""
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


RECIPES = sorted((REPOSITORY / "configs").rglob("*.py"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.name)
def test_recipes_state_the_source_of_their_numbers(path):
    described = ast.get_docstring(ast.parse(path.read_text()))
    assert re.search(r"uniwav train|launch/", described)
    assert "without a source are ours" in " ".join(described.lower().split())


def test_only_values_that_the_paper_states_are_attributed_to_it():
    """No source that we have states pretraining's learning rates, K, crops, bands or updates."""
    always = {"sample_rate", "hop"}
    synthesis = {"tts.mask_low", "tts.drop", "optim.lr", "train.steps", "optim.final_scale"}
    more = {
        "tts_librispeech.py": {*synthesis, "flow.guidance"},
        "tokenizer_1kbps.py": {"tokenizer.codewords"},
        "mini_tokenizer.py": {"tokenizer.codewords"},
        "task_fields.py": {"drop", "codewords"},
    }
    for path in (*RECIPES, *(PACKAGE / "config").glob("*.py")):
        stated = always | more.get(path.name, set())
        for line in path.read_text().splitlines():
            field = re.match(r"\s+(?:config\.)?([\w.]+).* = .*# .*\bpaper\b", line)
            assert not field or field[1] in stated, f"{path.name}: {line}"


def messages(path: pathlib.Path) -> list[str]:
    """Text that a user may see: strings, and in cli/ also docstrings, which are the help."""
    tree = ast.parse(path.read_text())
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, documented) and ast.get_docstring(node) and part_of(path) != "cli"
    }
    strings = [n for n in ast.walk(tree) if isinstance(n, ast.Constant) and id(n) not in docstrings]
    return [node.value for node in strings if isinstance(node.value, str)]


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_messages_name_only_files_that_pip_installs(path):
    """Messages name `uniwav` commands and configs, because a user may not have the repository."""
    folders = r"\b(tools|configs|launch|tests|benchmarks|findings|docs|examples)/"
    for text in messages(path):
        assert not re.search(folders, text), text
        assert "pip install -e" not in text, text


def test_only_tasks_and_config_depend_on_which_task_it_is():
    """No other code reads a task's options or compares its name."""
    found = []
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            inner = getattr(node, "value", None) if isinstance(node, ast.Attribute) else None
            options = isinstance(inner, ast.Attribute) and inner.attr in ("asr", "codec")
            options = options and ast.unparse(inner.value).endswith("config")
            compared = isinstance(node, ast.Compare) and ast.unparse(node.left).endswith(".task")
            if (options or compared) and part_of(path) not in ("tasks", "config"):
                found.append(f"{path.relative_to(PACKAGE)}:{node.lineno} {ast.unparse(node)}")
    assert not found
