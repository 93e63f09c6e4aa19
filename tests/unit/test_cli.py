"""The command line: what it prints, and how it ends."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("typer")
pytest.importorskip("torch")
pytest.importorskip("transformers")

from fairlead.cli._app import run
from fairlead.testing import tiny_model_dir


@pytest.fixture(scope="module")
def tiny() -> str:
    return str(tiny_model_dir())


def schema_file(folder: Path, schema: Any) -> str:
    path = folder / "schema.json"
    path.write_text(schema if isinstance(schema, str) else json.dumps(schema))
    return str(path)


def one_red_line(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    assert captured.err.startswith("fairlead: ") and captured.err.count("\n") == 1
    assert "Traceback" not in captured.err
    return captured.err


def test_demo(capsys):
    assert run(["demo"]) == 0
    out = capsys.readouterr().out
    for word in ("user", "answer", "parsed", "tokens", "ended by", "masks", "% of the generation", "valid:", "vessel"):
        assert word in out


def test_demo_with_a_model_a_schema_and_a_prompt(capsys, tmp_path, tiny):
    schema = {"type": "array", "items": {"enum": [1, 2]}, "minItems": 2, "maxItems": 2}
    status = run(["demo", "--model", tiny, "--schema", schema_file(tmp_path, schema), "--prompt", "Two numbers?"])
    out = capsys.readouterr().out
    assert status == 0 and "Two numbers?" in out and tiny in out


def test_demo_that_is_cut(capsys):
    assert run(["demo", "--max-new-tokens", "2"]) == 1
    assert "too small" in one_red_line(capsys)


@pytest.mark.parametrize("stream", [[], ["--stream"]])
def test_generate(capsys, tmp_path, tiny, stream):
    schema = {"type": "object", "properties": {"a": {"enum": ["x", "y"]}}, "required": ["a"]}
    schema["additionalProperties"] = False
    arguments = ["generate", "--model", tiny, "--schema", schema_file(tmp_path, schema), *stream, "Say something"]
    assert run(arguments) == 0
    assert json.loads(capsys.readouterr().out)["a"] in ("x", "y")
    assert run(["generate", "--model", tiny, "--regex", "[0-9]{4}", *stream, "A year?"]) == 0
    assert len(capsys.readouterr().out.strip()) == 4


def test_generate_stops_and_reads_the_input(capsys, tiny, monkeypatch):
    import io

    free = ["generate", "--model", tiny, "--max-new-tokens", "12", "--system", "Short."]
    assert run([*free, "hello"]) == 0
    whole = capsys.readouterr().out.rstrip("\n")
    monkeypatch.setattr(sys, "stdin", io.StringIO("hello"))
    assert run([*free, "--stop", whole[5:8], "--stop", "never", "-"]) == 0
    assert capsys.readouterr().out.rstrip("\n") == whole[: whole.index(whole[5:8])]


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["generate", "--model", "TINY", "--regex", "a(", "x"], 2, "a("),
        (["generate", "--model", "TINY", "--stop", "", "x"], 2, "stop sequence"),
        (["generate", "--model", "TINY", "--schema", "/nowhere.json", "x"], 1, "/nowhere.json"),
        (["generate", "--model", "/nowhere/model", "x"], 2, "/nowhere/model"),
        (["generate", "--model", "TINY", "--grammar", "x.txt", "x"], 2, "x.txt"),
        (["generate", "--model", "TINY", "--regex", "a{9}", "--max-new-tokens", "1", "x"], 1, "too small"),
        (["check", "/nowhere.json"], 1, "/nowhere.json"),
    ],
)
def test_mistakes_are_told_in_one_line(capsys, tiny, arguments, status, said):
    assert run([tiny if argument == "TINY" else argument for argument in arguments]) == status
    captured = capsys.readouterr().err
    assert captured.startswith("fairlead: ") and captured.count("\n") == 1 and said in captured


@pytest.mark.parametrize(
    "arguments", [["generate", "x"], ["nonsense"], ["generate", "--model", "m", "--regex", "a", "--schema", "s", "x"]]
)
def test_wrong_usage(capsys, arguments, tmp_path):
    arguments = [schema_file(tmp_path, {}) if argument == "s" else argument for argument in arguments]
    assert run(arguments) == 2
    assert "Usage" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("schema", "status", "said"),
    [
        ({"type": "object", "properties": {"a": {"type": "integer"}}}, 0, ["supported"]),
        (
            {"type": "string", "x-kubernetes-thing": 1, "title": "T"},
            0,
            ["supported", "ignored", "x-kubernetes-thing", "/x-kubernetes-thing"],
        ),
        (True, 0, ["supported"]),
        (
            {"type": "object", "properties": {"a": {"not": {"uniqueItems": True}}}},
            1,
            ["not supported", "/properties/a/not/uniqueItems", "uniqueItems"],
        ),
        ({"type": 5}, 1, ["not a valid schema", "/type"]),
        ({"$ref": "#/nowhere"}, 1, ["not", "where"]),
    ],
)
def test_check(capsys, tmp_path, schema, status, said):
    assert run(["check", schema_file(tmp_path, schema)]) == status
    captured = capsys.readouterr()
    assert all(word in captured.out for word in said) and captured.err == ""


def test_check_what_is_no_json(capsys, tmp_path):
    assert run(["check", schema_file(tmp_path, "{nothing")]) == 2
    assert "isn't JSON" in one_red_line(capsys)


def test_help_needs_no_framework():
    code = (
        "import sys; from fairlead.cli._app import run; assert run(['--help']) == 0; assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    for command in ("demo", "generate", "check"):
        assert command in done.stdout


def test_a_missing_extra_is_named(monkeypatch, capsys):
    import fairlead.cli as cli

    monkeypatch.setattr(cli, "find_spec", lambda name: None)
    with pytest.raises(SystemExit) as done:
        cli.main()
    assert done.value.code == 1 and "fairlead[cli]" in capsys.readouterr().err


def test_missing_transformers_is_named(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    assert run(["demo"]) == 1
    assert "fairlead[transformers]" in one_red_line(capsys)


def test_a_grammar_file_holds_the_answer(capsys, tmp_path, tiny):
    grammar = tmp_path / "course.gbnf"
    grammar.write_text('root ::= side " " [0-9]{1,2}\nside ::= "port" | "starboard"\n', encoding="utf-8")
    assert run(["generate", "--model", tiny, "--grammar", str(grammar), "Which way?"]) == 0
    assert re.fullmatch(r"(port|starboard) [0-9]{1,2}", capsys.readouterr().out.strip())
    grammar.write_text('root ::= root "a" | b\n', encoding="utf-8")
    assert run(["generate", "--model", tiny, "--grammar", str(grammar), "Which way?"]) == 2
    assert "not defined" in one_red_line(capsys)
