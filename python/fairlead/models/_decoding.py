"""The loop of one prompt in which several tokens can be read in one forward pass: forced ones, and guesses."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fairlead.models._kv_cache import cache_argument, crop, states_of

if TYPE_CHECKING:
    from fairlead.models._jump import JumpProcessor
    from fairlead.models._prompt_lookup import PromptLookup

__all__ = ["decoding_loop"]


def decoding_loop(jump: JumpProcessor | None, lookup: PromptLookup | None, streamer: Any = None) -> Callable[..., Any]:
    """A ``custom_generate`` for Transformers that writes what generation one token at a time does, in fewer passes.

    Processors, sampling and stopping criteria see each token in its turn, as if it were read alone; what is wrong in a
    guess is taken out of the cache again.

    Args:
        jump: Appends what a grammar forces as soon as it is known.
        lookup: Guesses; empty. Needs a cache that can be cropped.
        streamer: Told of each token; Transformers doesn't hand its own on.
    """

    def loop(
        model: Any, input_ids: Any, logits_processor: Any, stopping_criteria: Any, generation_config: Any, **rest: Any
    ) -> Any:
        import torch

        name = cache_argument(model)
        cache = rest[name]
        first = {name: rest[name] for name in ("pixel_values",) if rest.get(name) is not None}
        room = None if generation_config.max_length is None else int(generation_config.max_length)

        def with_tokens(ids: Any, tokens: Any) -> Any:
            if streamer is not None:
                streamer.put(tokens[0].cpu())
            return torch.cat([ids, tokens.to(ids.device)], dim=1)

        def jumped(ids: Any) -> tuple[Any, bool]:
            """The ids with what must follow them, and whether that ends the text."""
            span = jump.forced(ids) if jump is not None else []
            if room is not None:
                span = span[: max(0, room - ids.shape[1])]
            if not span:
                return ids, False
            ids = with_tokens(ids, ids.new_tensor([span]))
            return ids, bool(stopping_criteria(ids, None).all())

        def guess(ids: Any) -> list[int]:
            if lookup is None:
                return []
            lookup.extend(ids[0, len(lookup) :].tolist())
            # One more token is chosen behind the guess.
            return lookup.guess(ids.shape[1] if room is None else max(0, room - ids.shape[1] - 1))

        input_ids, done = jumped(input_ids)
        while not done:
            begin = input_ids.shape[1]
            guessed = guess(input_ids)
            unread = input_ids[:, states_of(cache) :]
            if guessed:
                unread = torch.cat([unread, unread.new_tensor([guessed])], dim=1)
            outputs = model(
                input_ids=unread,
                **{name: cache},
                use_cache=True,
                logits_to_keep=len(guessed) + 1,
                return_dict=True,
                **first,
            )
            first = {}
            right = 0
            while True:
                scores = outputs.logits[:, right].to(dtype=torch.float32, copy=True)
                scores = logits_processor(input_ids, scores)
                if generation_config.do_sample:
                    token = torch.multinomial(torch.softmax(scores, dim=-1), num_samples=1)
                else:
                    token = scores.argmax(dim=-1, keepdim=True)
                input_ids = with_tokens(input_ids, token)
                done = bool(stopping_criteria(input_ids, None).all())
                if not done:
                    input_ids, done = jumped(input_ids)
                written = input_ids[0, begin:].tolist() if guessed else []
                while right < min(len(guessed), len(written)) and guessed[right] == written[right]:
                    right += 1
                if done or right < len(written) or not guessed:
                    break
            if guessed:
                assert lookup is not None
                lookup.learn(len(guessed), right)
                crop(cache, begin + right)
        if streamer is not None:
            streamer.end()
        return input_ids

    return loop
