"""Checks that imports point downwards only, in Rust and in Python. Exit status 1 names each import that doesn't."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# Lowest first; modules of one layer may import each other unless they stand in INDEPENDENT.
RUST_LAYERS = [
    {"error", "idna", "limits", "memo"},
    {"automata", "vocab"},
    {"regex", "stop"},
    {"json_schema"},
    {"grammar"},
    {"mask", "matcher", "compile"},
]
# The optional first part is the folder below python/fairlead; `models/_*` are the shared parts of the backends.
PYTHON_LAYERS = [
    {"errors", "types", "_optional", "_schema_text", "_smolagents"},
    {"_core"},
    {"images"},
    {"messages", "stopping", "grammar", "tokenizer"},
    {"adapters", "bitmask", "logits_processor", "streaming", "tools", "xgrammar"},
    {"models/_*"},
    {"vllm"},
    {"models/*"},
    {"models"},
    {"__init__", "testing", "cli", "__main__"},
]
# A backend never imports another one, except for the classes that derive from it.
BACKEND_EXCEPTIONS = {("azure_openai", "openai")}
# Registering and loading model classes names them, at a time when the user asks for it.
UPWARD_EXCEPTIONS = {("_smolagents", "models"), ("models._registry", "models")}


def rust_violations() -> list[str]:
    """Imports of `crate::<module>` in the core that point upwards."""
    level = {name: i for i, names in enumerate(RUST_LAYERS) for name in names}
    source = ROOT / "rust" / "fairlead-core" / "src"
    found = []
    for path in sorted(source.rglob("*.rs")):
        module = path.relative_to(source).parts[0].removesuffix(".rs")
        if module == "lib":
            continue
        if module not in level:
            found.append(f"{path.relative_to(ROOT)}: module {module!r} has no layer; name it in .ci/layers.py")
            continue
        # Tests may reach anywhere.
        code = re.split(r"^#\[cfg\(test\)\]\s*\n\s*mod ", path.read_text(encoding="utf-8"), maxsplit=1, flags=re.M)[0]
        code = re.sub(r"//.*", "", code)
        for statement in re.finditer(r"\bcrate::(\{[^;]*?\}|\w+)", code):
            for name in re.findall(r"(?:^|[{,])\s*(\w+)", statement[1]) or [statement[1]]:
                line = code.count("\n", 0, statement.start()) + 1
                if name in level and level[name] > level[module]:
                    found.append(f"{path.relative_to(ROOT)}:{line}: {module} imports {name}, which lies above it")
    return found


def python_layer(module: str) -> int | None:
    """The layer of a dotted module name below `fairlead`."""
    parts = module.split(".")
    if parts[0] == "models":
        name = "models" if len(parts) == 1 else "models/_*" if parts[1].startswith("_") else "models/*"
    else:
        name = parts[0]
    return next((i for i, names in enumerate(PYTHON_LAYERS) if name in names), None)


def type_checking_lines(tree: ast.AST) -> set[int]:
    """Lines that only a type checker reads."""
    lines: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for child in node.body:
                lines.update(range(child.lineno, (child.end_lineno or child.lineno) + 1))
    return lines


def imported(node: ast.AST, package: list[str]) -> list[str]:
    """Modules below `fairlead` that an import statement names."""
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
        base = ["fairlead", *package][: len(package) + 2 - node.level] if node.level else []
        module = ".".join([*base, *([node.module] if node.module else [])])
        # `from fairlead.models import _local` names a module, `from fairlead.errors import X` a name in one.
        names = [f"{module}.{alias.name}" for alias in node.names]
    else:
        return []
    return [name.removeprefix("fairlead.") for name in names if name.startswith("fairlead.")]


def python_violations() -> list[str]:
    """Imports within the package that point upwards; those inside functions count as well."""
    source = ROOT / "python" / "fairlead"
    found = []
    for path in sorted(source.rglob("*.py")):
        relative = path.relative_to(source)
        parts = list(relative.with_suffix("").parts)
        package = parts[:-1]
        module = ".".join(package if parts[-1] == "__init__" and package else parts)
        own = python_layer(module)
        if own is None:
            found.append(f"{path.relative_to(ROOT)}: module {module!r} has no layer; name it in .ci/layers.py")
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        skipped = type_checking_lines(tree)
        for node in ast.walk(tree):
            if getattr(node, "lineno", 0) in skipped:
                continue
            for name in imported(node, package):
                head = name.split(".")
                target = ".".join(head[:2]) if head[0] == "models" and is_module(source, head[:2]) else head[0]
                if target == module or target.split(".")[0] == module == "models":
                    continue  # a package may import its own parts
                layer = python_layer(target)
                where = f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"
                if (module, target) in UPWARD_EXCEPTIONS:
                    continue
                if layer is not None and layer > own:
                    found.append(f"{where}: {module} imports {target}, which lies above it")
                elif is_backend(module) and is_backend(target):
                    pair = (module.split(".")[1], target.split(".")[1])
                    if pair[0] != pair[1] and pair not in BACKEND_EXCEPTIONS:
                        found.append(f"{where}: backend {pair[0]} imports backend {pair[1]}")
    return found


def is_module(source: Path, parts: list[str]) -> bool:
    """Whether the dotted name is a module of the package."""
    path = source.joinpath(*parts)
    return path.with_suffix(".py").exists() or path.is_dir()


def is_backend(module: str) -> bool:
    """Whether a module is one backend's file."""
    parts = module.split(".")
    return parts[0] == "models" and len(parts) > 1 and not parts[1].startswith("_")


if __name__ == "__main__":
    violations = rust_violations() + python_violations()
    print("\n".join(violations) or "layers: imports point downwards")
    sys.exit(1 if violations else 0)
