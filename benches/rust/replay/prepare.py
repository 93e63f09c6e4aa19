"""Writes what `replay` reads: a tokenizer's vocabulary and the tokens of every instance, as JSON.

usage: prepare.py TOKENIZER_DIR DATA_DIR_OR_TAR OUT.jsonl [--style default|compact|indent]

The data is MaskBench's: files of {"schema": ..., "tests": [{"valid": bool, "data": ...}]}. The first line of the output is
{"tokens": [hex or null, ...], "stop": [...]}, every other {"name", "schema", "tests": [{"valid", "tokens"}]}.
"""

import argparse
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from fairlead import TokenizerInfo

STYLES: dict[str, dict[str, Any]] = {"default": {}, "compact": {"separators": (",", ":")}, "indent": {"indent": 2}}


def entries(path: Path) -> Iterator[tuple[str, Any]]:
    if path.is_dir():
        for file in sorted(path.glob("*.json")):
            yield file.name, json.loads(file.read_text(encoding="utf-8"))
        return
    with tarfile.open(path) as tar:
        for member in tar:
            file = tar.extractfile(member) if member.name.endswith(".json") else None
            if file is not None:
                yield Path(member.name).name, json.load(file)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tokenizer")
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--style", choices=STYLES, default="default")
    args = parser.parse_args()
    tokenizer = AutoTokenizer.from_pretrained(args.tokenizer)
    info = TokenizerInfo.from_huggingface(tokenizer)
    tokens = [text if text is None else text.hex() for text in info.decoded_vocab]
    with args.out.open("w") as out:
        print(json.dumps({"tokens": tokens, "stop": list(info.stop_token_ids)}), file=out)
        for name, entry in entries(args.data):
            tests = []
            for test in entry["tests"]:
                text = json.dumps(test["data"], ensure_ascii=False, **STYLES[args.style])
                tests.append({"valid": test["valid"], "tokens": tokenizer.encode(text, add_special_tokens=False)})
            row = {"name": name, "schema": json.dumps(entry["schema"]), "tests": tests}
            print(json.dumps(row), file=out)


if __name__ == "__main__":
    main()
