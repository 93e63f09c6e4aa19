"""Grammars beyond JSON Schema: EBNF, left recursion, bounded repetitions, structural tags.

    python benches/python/grammar.py [--tokenizer FOLDER]

Each engine compiles a grammar, then walks texts of it token by token: mask, check that the token is allowed, commit.
"first" is that walk in a cold engine, "again" a second one. The engines take turns case by case in one process; what
the loop costs by itself is subtracted. llguidance gets the same language in its Lark form; a case that an engine can't
do or does otherwise (it refuses a text of the language) is marked and left out of its figures.

Needs the bench group, Transformers and rich; the default vocabulary is the one of 131,072 tokens in mistral-common.
"""

from __future__ import annotations

import argparse
import glob
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from rich.console import Console
from rich.table import Table

JSON = r"""
root ::= value
value ::= object | array | string | number | "true" | "false" | "null"
object ::= "{" ws (member ("," ws member)*)? "}"
member ::= string ":" ws value
array ::= "[" ws (value ("," ws value)*)? "]"
string ::= "\"" ([^"\\\x00-\x1f] | "\\" ["\\/bfnrt])* "\""
number ::= "-"? ("0" | [1-9] [0-9]*) ("." [0-9]+)? ([eE] [+-]? [0-9]+)?
ws ::= " "?
"""
JSON_LARK = r"""
start: value
value: object | array | STRING | NUMBER | "true" | "false" | "null"
object: "{" WS? (member ("," WS? member)*)? "}"
member: STRING ":" WS? value
array: "[" WS? (value ("," WS? value)*)? "]"
STRING: /"([^"\\\x00-\x1f]|\\["\\\/bfnrt])*"/
NUMBER: /-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?/
WS: " "
"""
SUM_LEFT = r"""
root ::= sum
sum ::= sum " "? [+-] " "? term | term
term ::= term " "? [*/] " "? atom | atom
atom ::= [0-9]+ | [a-z]+ | "(" sum ")"
"""
SUM_RIGHT = r"""
root ::= sum
sum ::= term (" "? [+-] " "? term)*
term ::= atom (" "? [*/] " "? atom)*
atom ::= [0-9]+ | [a-z]+ | "(" sum ")"
"""
SUM_LARK = r"""
start: sum
sum: term (" "? ("+" | "-") " "? term)*
term: atom (" "? ("*" | "/") " "? atom)*
atom: /[0-9]+/ | /[a-z]+/ | "(" sum ")"
"""
SQL = r"""
root ::= "SELECT " columns " FROM " name (" JOIN " name " ON " test)? rest ";"
rest ::= (" WHERE " tests)? (" ORDER BY " name)? (" LIMIT " [0-9]+)?
columns ::= "*" | column (", " column)*
column ::= name (" AS " name)? | ("COUNT" | "SUM" | "MAX") "(" (name | "*") ")"
tests ::= test ((" AND " | " OR ") test)*
test ::= operand " "? ("=" | "<" | ">" | "<=" | ">=" | "<>") " "? operand | "(" tests ")"
operand ::= name | [0-9]+ | "'" [^'\n]* "'"
name ::= [a-z] [a-z0-9_]* ("." [a-z] [a-z0-9_]*)?
"""
SQL_LARK = r"""
start: "SELECT " columns " FROM " NAME (" JOIN " NAME " ON " test)? rest ";"
rest: (" WHERE " tests)? (" ORDER BY " NAME)? (" LIMIT " /[0-9]+/)?
columns: "*" | column (", " column)*
column: NAME (" AS " NAME)? | ("COUNT" | "SUM" | "MAX") "(" (NAME | "*") ")"
tests: test ((" AND " | " OR ") test)*
test: operand " "? ("=" | "<" | ">" | "<=" | ">=" | "<>") " "? operand | "(" tests ")"
operand: NAME | /[0-9]+/ | /'[^'\n]*'/
NAME: /[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)?/
"""
# Statements a line each, blocks of one line; what opens has to close.
PYTHON = r"""
root ::= ((block | simple) "\n")+
block ::= head ": " simple
head ::= "def " name "(" (name (", " name)*)? ")" | ("if " | "while ") test | "for " name " in " test
simple ::= small ("; " small)*
small ::= "return" (" " test)? | "pass" | "import " name ("." name)* | name trailer* " " [-+*/]? "= " test | test
test ::= either (" if " either " else " test)?
either ::= comparison ((" and " | " or ") comparison)*
comparison ::= "not "? sum (" " ("==" | "!=" | "<" | ">" | "<=" | ">=" | "in") " " sum)?
sum ::= term (" " [-+] " " term)*
term ::= factor (" " ("*" | "/" | "//" | "%") " " factor)*
factor ::= "-"? atom trailer*
trailer ::= "(" (argument (", " argument)*)? ")" | "[" test "]" | "." name
argument ::= (name "=")? test
atom ::= name | [0-9]+ ("." [0-9]+)? | "\"" [^"\\\n]* "\"" | list | dict | "(" test ")"
list ::= "[" (test (", " test)*)? "]"
dict ::= "{" (item (", " item)*)? "}"
item ::= test ": " test
name ::= [a-zA-Z_] [a-zA-Z0-9_]*
"""
PYTHON_LARK = r"""
start: ((block | simple) "\n")+
block: head ": " simple
head: "def " NAME "(" (NAME (", " NAME)*)? ")" | ("if " | "while ") test | "for " NAME " in " test
simple: small ("; " small)*
small: "return" (" " test)? | "pass" | "import " NAME ("." NAME)* | NAME trailer* " " /[-+*\/]?= / test | test
test: either (" if " either " else " test)?
either: comparison ((" and " | " or ") comparison)*
comparison: "not "? sum (" " ("==" | "!=" | "<" | ">" | "<=" | ">=" | "in") " " sum)?
sum: term (" " ("-" | "+") " " term)*
term: factor (" " ("*" | "/" | "//" | "%") " " factor)*
factor: "-"? atom trailer*
trailer: "(" (argument (", " argument)*)? ")" | "[" test "]" | "." NAME
argument: (NAME "=")? test
atom: NAME | NUMBER | STRING | list | dict | "(" test ")"
list: "[" (test (", " test)*)? "]"
dict: "{" (item (", " item)*)? "}"
item: test ": " test
NUMBER: /[0-9]+(\.[0-9]+)?/
STRING: /"[^"\\\n]*"/
NAME: /[a-zA-Z_][a-zA-Z0-9_]*/
"""
REGEXES = [
    (r"[a-z]{1,63}", ["fairlead", "averylongwordindeedthatgoesonandon"]),
    (r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z", ["2026-11-24T01:02:03Z"]),
    (r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", ["123e4567-e89b-12d3-a456-426614174000"]),
    (r"([A-Za-z0-9._-]{1,64})@([a-z0-9-]{1,63}\.){1,4}[a-z]{2,10}", ["ada.lovelace@mail.example.org"]),
    (r"(\S+ ){0,40}\S+", ["The fairlead guides a rope and keeps it from running wild in any weather"]),
    (r"[A-Z][a-z]{2,20}( [A-Z][a-z]{2,20}){0,5}", ["Anna Karoline Margarethe"]),
    (r"([01]?[0-9]{1,2}\.){3}[0-9]{1,3}", ["192.168.10.1"]),
    (r".{0,200}", ["Anything that fits on a line, up to two hundred characters."]),
    (r"(yes|no|maybe)(, (yes|no|maybe)){0,30}", ["yes, no, maybe, no, yes"]),
    (r"#[0-9A-F]{6}( #[0-9A-F]{6}){0,15}", ["#FF00AA #102030 #ABCDEF"]),
]
TEXTS_JSON = [json.dumps({"name": "Anna", "tags": ["a", "b c", 1.5e3, None], "deep": {"x": {"y": [[], {}, True]}}})]
TEXTS_SUM = ["1 + 2*(abc - 4)/(7 + x*(y + 10)) - 30*z", "((((1))))"]
TEXTS_SQL = [
    "SELECT a.id, COUNT(*), name AS n FROM users JOIN orders ON users.id = orders.user_id "
    "WHERE (age >= 21 OR name = 'Ada Lovelace') AND city <> 'Paris' ORDER BY a.id LIMIT 10;"
]
TEXTS_PYTHON = [
    "import os.path\n"
    'berths = {"north": [1, 2, 3], "south": []}\n'
    "def tide(hour, high): return high * (1 - hour / 12.4) if hour < 12 and not high == 0 else 0\n"
    'for name in sorted(berths, key=len): print(name, len(berths[name]) // 2, sep=", ")\n'
    'if os.path.exists("log.txt") or tide(6, 3.2) > 1.5: total = berths["north"][0] + 7 % 3; log(total)\n'
]


def tools() -> list[dict[str, Any]]:
    """Thirty tools, as tags of XGrammar's older form."""
    kinds: list[Any] = [{"type": "string"}, {"type": "integer"}, {"enum": ["low", "high"]}, {"type": "boolean"}]
    made = []
    for n in range(30):
        names = [f"{word}_{n}" for word in ("query", "count", "level", "flag")]
        schema = {"type": "object", "properties": dict(zip(names, kinds, strict=True)), "required": names[:2]}
        schema["additionalProperties"] = False
        made.append({"begin": f"<function=tool_{n}>", "schema": schema, "end": "</function>"})
    return made


TEXT_TAG = (
    "Let me look that up for you first. <function=tool_7>"
    + json.dumps({"query_7": "weather in Kiel", "count_7": 3, "level_7": "low"})
    + "</function> And then the other one: <function=tool_21>"
    + json.dumps({"query_21": "tides", "count_21": 12})
    + "</function> Done."
)


class Fairlead:
    def __init__(self, tokenizer: Any) -> None:
        import fairlead

        self.name, self._fairlead = "fairlead", fairlead
        info = fairlead.TokenizerInfo.from_huggingface(tokenizer)
        self._compiler = fairlead.GrammarCompiler(info)
        self._mask = fairlead.allocate_token_bitmask(1, info.vocab_size)
        self._row = self._mask.numpy()[0]

    def compile(self, case: Case) -> Any:
        make = self._fairlead.Grammar
        kind, source = case.source["fairlead"]
        return self._compiler.compile_grammar(getattr(make, kind)(source))

    def start(self, compiled: Any) -> Callable[[int], bool]:
        matcher, mask, row = self._fairlead.GrammarMatcher(compiled), self._mask, self._row

        def step(token: int) -> bool:
            matcher.fill_next_token_bitmask(mask, 0)
            return bool(int(row[token // 32]) >> (token % 32) & 1) and matcher.accept_token(token)

        return step


class XGrammar:
    def __init__(self, tokenizer: Any) -> None:
        import xgrammar

        self.name, self._xgrammar = "xgrammar", xgrammar
        info = xgrammar.TokenizerInfo.from_huggingface(tokenizer, vocab_size=len(tokenizer))
        self._compiler = xgrammar.GrammarCompiler(info, max_threads=1)
        self._mask = xgrammar.allocate_token_bitmask(1, info.vocab_size)
        self._row = self._mask.numpy()[0]

    def compile(self, case: Case) -> Any:
        kind, source = case.source["xgrammar"]
        if kind == "structural_tag":
            items = [self._xgrammar.StructuralTagItem(**tag) for tag in source["structures"]]
            return self._compiler.compile_structural_tag(items, source["triggers"])
        return self._compiler.compile_regex(source) if kind == "regex" else self._compiler.compile_grammar(source)

    def start(self, compiled: Any) -> Callable[[int], bool]:
        matcher, mask, row = self._xgrammar.GrammarMatcher(compiled), self._mask, self._row

        def step(token: int) -> bool:
            matcher.fill_next_token_bitmask(mask)
            return bool(int(row[token // 32]) >> (token % 32) & 1) and matcher.accept_token(token)

        return step


class LLGuidance:
    def __init__(self, tokenizer: Any) -> None:
        import llguidance
        import llguidance.hf
        import llguidance.numpy as masks

        self.name, self._llguidance, self._masks = "llguidance", llguidance, masks
        self._tokenizer = llguidance.hf.from_tokenizer(tokenizer)
        self._mask = masks.allocate_token_bitmask(1, self._tokenizer.vocab_size)

    def compile(self, case: Case) -> Any:
        kind, source = case.source["llguidance"]
        grammar = self._llguidance.LLMatcher.grammar_from_regex(source) if kind == "regex" else source
        if kind == "lark":
            grammar = self._llguidance.LLMatcher.grammar_from_lark(source)
        matcher = self._llguidance.LLMatcher(self._tokenizer, grammar)
        if matcher.is_error():
            raise ValueError(matcher.get_error())
        return matcher

    def start(self, compiled: Any) -> Callable[[int], bool]:
        matcher, mask, fill = compiled.deep_copy(), self._mask, self._masks.fill_next_token_bitmask

        def step(token: int) -> bool:
            fill(matcher, mask, 0)
            return bool(int(mask[0, token // 32]) >> (token % 32) & 1) and bool(matcher.consume_token(token))

        return step


@dataclass
class Case:
    name: str
    source: dict[str, tuple[str, Any]]
    texts: list[str]


def cases() -> Iterator[Case]:
    yield Case(
        "JSON", {"fairlead": ("ebnf", JSON), "xgrammar": ("ebnf", JSON), "llguidance": ("lark", JSON_LARK)}, TEXTS_JSON
    )
    # The peers have no left recursion: the same language without it.
    sums = {"fairlead": ("ebnf", SUM_LEFT), "xgrammar": ("ebnf", SUM_RIGHT), "llguidance": ("lark", SUM_LARK)}
    yield Case("arithmetic", sums, TEXTS_SUM)
    yield Case(
        "SQL", {"fairlead": ("ebnf", SQL), "xgrammar": ("ebnf", SQL), "llguidance": ("lark", SQL_LARK)}, TEXTS_SQL
    )
    python = {"fairlead": ("ebnf", PYTHON), "xgrammar": ("ebnf", PYTHON), "llguidance": ("lark", PYTHON_LARK)}
    yield Case("Python", python, TEXTS_PYTHON)
    for pattern, texts in REGEXES:
        yield Case(pattern, dict.fromkeys(("fairlead", "xgrammar", "llguidance"), ("regex", pattern)), texts)
    tag = {"structures": tools(), "triggers": ["<function="]}
    yield Case("30 tools", dict.fromkeys(("fairlead", "xgrammar"), ("structural_tag", tag)), [TEXT_TAG])


def walk(engine: Any, compiled: Any, texts: list[list[int]], times: list[float]) -> bool:
    clock = time.perf_counter
    for tokens in texts:
        step = engine.start(compiled)
        for token in tokens:
            begun = clock()
            fine = step(token)
            times.append((clock() - begun) * 1e6)
            if not fine:
                return False
    return True


def floor(texts: list[list[int]]) -> float:
    times: list[float] = []
    for _ in range(20):
        for tokens in texts:
            for token in tokens:
                begun = time.perf_counter()
                bool(int(token) >> (token % 32) & 1)
                times.append((time.perf_counter() - begun) * 1e6)
    return sorted(times)[len(times) // 2]


def percentile(values: list[float], share: float) -> float:
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * share / 100))]


def load(folder: str | None) -> Any:
    if folder:
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(folder)
    import mistral_common
    from transformers.integrations.mistral import convert_tekken_tokenizer

    data = os.path.join(os.path.dirname(mistral_common.__file__), "data")
    return convert_tekken_tokenizer(sorted(glob.glob(data + "/tekken*.json"))[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokenizer", help="a folder of a Hugging Face tokenizer")
    tokenizer = load(parser.parse_args().tokenizer)
    engines = [made(tokenizer) for made in (Fairlead, LLGuidance, XGrammar)]
    compiling: dict[str, list[float]] = {engine.name: [] for engine in engines}
    steps: dict[str, dict[str, list[float]]] = {engine.name: {"first": [], "again": []} for engine in engines}
    detail = Table("case", *(f"{engine.name} compile ms / first p50 / p99 us" for engine in engines))
    for number, case in enumerate(cases()):
        texts = [tokenizer.encode(text, add_special_tokens=False) for text in case.texts]
        base = floor(texts)
        cells: dict[str, str] = {}
        for engine in engines if number % 2 == 0 else engines[::-1]:
            if engine.name not in case.source:
                cells[engine.name] = "left out"
                continue
            begun = time.perf_counter()
            try:
                compiled = engine.compile(case)
                first: list[float] = []
                again: list[float] = []
                engine.start(compiled)(texts[0][0])
                spent = (time.perf_counter() - begun) * 1e3
                fine = walk(engine, compiled, texts, first) and walk(engine, compiled, texts, again)
            except Exception as error:
                cells[engine.name] = f"can't: {str(error).splitlines()[0][:40]}"
                continue
            if not fine:
                cells[engine.name] = "refuses a text"
                continue
            compiling[engine.name].append(spent)
            steps[engine.name]["first"] += [max(0.0, t - base) for t in first]
            steps[engine.name]["again"] += [max(0.0, t - base) for t in again]
            cells[engine.name] = f"{spent:.1f} / {percentile(first, 50):.1f} / {percentile(first, 99):.0f}"
        detail.add_row(case.name, *(cells[engine.name] for engine in engines))
    table = Table("us a token", *(f"{engine.name} {version(engine.name)}" for engine in engines))
    ours = "fairlead"
    for when in ("first", "again"):
        for share in (50, 99):
            values = {name: percentile(found[when], share) for name, found in steps.items()}
            cells_ = [f"{v:.1f}" + ("" if n == ours else f" ({v / values[ours]:.1f}x)") for n, v in values.items()]
            table.add_row(f"{when}, p{share}", *cells_)
    values = {name: percentile(found, 50) for name, found in compiling.items()}
    cells_ = [f"{v:.1f}" + ("" if n == ours else f" ({v / values[ours]:.1f}x)") for n, v in values.items()]
    table.add_row("compile and first mask, ms, p50", *cells_)
    table.add_row("cases", *(str(len(found)) for found in compiling.values()))
    Console(width=140).print(detail, table)


if __name__ == "__main__":
    main()
