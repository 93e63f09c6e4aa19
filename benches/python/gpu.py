"""What a constraint costs on a GPU: a mask applied to logits, and a step of a model with random weights.

Run with ``python benches/python/gpu.py [--tokenizer DIR]``; needs a CUDA device, torch and transformers, and
mistral-common's vocabulary of 131,072 tokens unless a tokenizer's folder is named. Free and constrained generations
take turns; each figure is the best of them, wall-clock, the device waited for.
"""

from __future__ import annotations

import argparse
import glob
import os
import time
from typing import Any

import fairlead
import torch
import transformers

SCHEMA = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {"vessel": {"type": "string"}, "berth": {"type": "integer"}, "free": {"type": "boolean"}},
        "required": ["vessel", "berth", "free"],
        "additionalProperties": False,
    },
    "minItems": 200,
}
TOKENS = 128


def best(run: Any, times: int) -> float:
    found = []
    for _ in range(times):
        torch.cuda.synchronize()
        start = time.perf_counter()
        run()
        torch.cuda.synchronize()
        found.append(time.perf_counter() - start)
    return min(found)


def masks(vocab: int) -> None:
    bitmask = fairlead.allocate_token_bitmask(8, vocab)
    for batch in (1, 8):
        for dtype in (torch.float32, torch.bfloat16):
            logits = torch.randn(batch, vocab, device="cuda", dtype=dtype)
            rows = torch.frombuffer(bitmask, dtype=torch.int32).view(8, -1)[:batch]
            seconds = best(lambda logits=logits, rows=rows: fairlead.apply_token_bitmask_inplace(logits, rows), 200)
            print(f"apply a mask, batch {batch}, {str(dtype)[6:]:>8}: {seconds * 1e6:7.1f} us")


def steps(tokenizer: Any, batch: int) -> None:
    vocab = len(tokenizer)
    config = transformers.LlamaConfig(
        vocab_size=vocab,
        hidden_size=2048,
        intermediate_size=5632,
        num_hidden_layers=16,
        num_attention_heads=16,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    torch.manual_seed(1)
    with torch.device("cuda"):
        model = transformers.LlamaForCausalLM(config).to(torch.bfloat16).eval()
    info = fairlead.TokenizerInfo.from_huggingface(tokenizer, vocab_size=vocab, stop_token_ids=[2])
    compiled = fairlead.GrammarCompiler(info).compile_json_schema(SCHEMA)
    ids = torch.randint(3, 1000, (batch, 64), device="cuda")

    def generate(*processors: Any) -> None:
        model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=TOKENS,
            min_new_tokens=TOKENS,
            do_sample=False,
            logits_processor=list(processors),
        )

    free, held = [], []
    generate()
    for _ in range(4):
        free.append(best(generate, 1))
        held.append(best(lambda: generate(fairlead.LogitsProcessor(compiled)), 1))
    a, b = min(free) / TOKENS * 1e3, min(held) / TOKENS * 1e3
    print(f"a step, batch {batch}: {a:.2f} ms free, {b:.2f} ms constrained ({b / a - 1:+.1%})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokenizer")
    folder = parser.parse_args().tokenizer
    if folder:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    else:
        import mistral_common
        from transformers.integrations.mistral import convert_tekken_tokenizer

        data = os.path.join(os.path.dirname(mistral_common.__file__), "data")
        tokenizer = convert_tekken_tokenizer(sorted(glob.glob(data + "/tekken*.json"))[0])
    print(torch.cuda.get_device_name(), "torch", torch.__version__, "transformers", transformers.__version__)
    masks(len(tokenizer))
    for batch in (1, 8):
        steps(tokenizer, batch)


if __name__ == "__main__":
    main()
