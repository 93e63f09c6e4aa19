"""The package as a whole: what importing it costs, its names, its errors, its optional parts."""

from __future__ import annotations

import ast
import copy
import pickle
import subprocess
import sys
from pathlib import Path

import fairlead
import pytest
from fairlead import errors
from fairlead._optional import require

PACKAGE = Path(fairlead.__file__).parent


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def test_importing_loads_no_framework() -> None:
    heavy = ["torch", "transformers", "numpy", "smolagents", "PIL", "pydantic", "rich", "typer"]
    assert run(f"import fairlead, sys; print([m for m in {heavy} if m in sys.modules])") == "[]"


def test_messages_and_stop_sequences_load_no_framework() -> None:
    heavy = ["torch", "transformers", "smolagents", "mlx"]
    code = "import fairlead.stopping, fairlead.messages, fairlead.errors, sys; fairlead.StopSequenceMatcher(['a'])\n"
    assert run(code + f"print([m for m in {heavy} if m in sys.modules])") == "[]"


def test_every_public_name_is_there() -> None:
    for name in fairlead.__all__:
        assert getattr(fairlead, name) is not None
    assert set(fairlead.__all__) <= set(dir(fairlead))
    assert fairlead.__version__.count(".") == 2


def test_type_checkers_see_the_same_names() -> None:
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    imports = {
        (node.module, alias.name) for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert imports == {(module, name) for name, module in fairlead._HOME.items()}
    assert {name for _, name in imports} == set(fairlead.__all__)


def test_an_unknown_name() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = fairlead.nonsense  # type: ignore[attr-defined]


def test_the_tree_of_errors_is_the_one_that_is_drawn() -> None:
    drawn: dict[str, str] = {}
    stack: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        stripped = line.lstrip(" │├└─")
        if stripped and (line.startswith(("    ├", "    └", "    │")) or "─" in line):
            depth = (len(line) - len(stripped)) // 4 - 1
            name = stripped.split()[0]
            stack[depth:] = [name]
            drawn[name] = stack[depth - 1] if depth > 1 else "FairleadError"
            stack = [*stack[:depth], name]
        elif stripped.startswith("FairleadError"):
            stack = ["FairleadError"]
    actual = {name: getattr(errors, name).__mro__[1].__name__ for name in errors.__all__ if name != "FairleadError"}
    assert drawn == actual
    for name in errors.__all__:
        assert issubclass(getattr(errors, name), errors.FairleadError)


@pytest.mark.parametrize(
    "error",
    [
        errors.GrammarError("m", line=1, column=2, offset=3),
        errors.UnsupportedSchemaError("m", pointer="/a", keyword="not"),
        errors.MessageError("m", index=4),
        errors.MissingDependencyError("m", extra="openai", name="openai"),
        errors.RateLimitError("m", body={"a": 1}, request_id="r", retry_after=1.5),
        errors.LimitExceeded("m"),
    ],
)
def test_errors_keep_their_fields(error: errors.FairleadError) -> None:
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(twin) is type(error) and str(twin) == "m"
        assert twin.__dict__ == error.__dict__


def test_require() -> None:
    assert require("json", extra="any") is __import__("json")
    with pytest.raises(errors.MissingDependencyError, match=r"pip install 'fairlead\[openai\]'") as caught:
        require("no_such_package.part", extra="openai", feature="OpenAIModel")
    assert caught.value.extra == "openai" and caught.value.name == "no_such_package"
    assert isinstance(caught.value, ImportError) and "OpenAIModel" in str(caught.value)


def test_a_broken_installed_package_is_not_called_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_package.py").write_text("import no_such_dependency\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError) as caught:
        require("broken_package", extra="any")
    assert not isinstance(caught.value, errors.MissingDependencyError)
