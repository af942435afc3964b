"""sorus generate: writes text with a trained model."""

from __future__ import annotations

import argparse
import codecs
import json
import sys
import time
from pathlib import Path

from . import CommandError, number, runs

EXAMPLES = """examples:
  sorus generate                                       the newest run below out/
  sorus generate out/gpt-nano-1 --prompt 'class Reader' --tokens 400
  sorus generate out/gpt-nano-1/checkpoints/step-000001200.safetensors --seed 7
  sorus generate path/to/gpt2 --prompt 'Once upon a time' --temperature 0.7 --top-k 40
"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.description = ("Writes text with a run of `sorus train gpt`, one of its checkpoints, or a GPT-2 folder "
                          "(config.json, model.safetensors, tokenizer.json). The text appears as it is made.")  # fmt: skip
    parser.epilog = EXAMPLES
    parser.add_argument("model", nargs="?", metavar="PATH", help="run, checkpoint or GPT-2 folder (the newest run)")
    parser.add_argument("--prompt", default="def ", help="what the text begins with ('def ')")
    count = number(int, 0)
    parser.add_argument("--tokens", type=count, default=200, metavar="N", help="how many to write (200)")
    parser.add_argument(
        "--temperature", type=number(float, 0), default=0.8, metavar="T", help="0: always the likeliest (0.8)"
    )
    parser.add_argument("--top-k", type=count, default=50, metavar="K", help="draw from the K likeliest; 0: all (50)")
    parser.add_argument("--seed", type=count, metavar="N", help="for the same text each time")
    parser.add_argument("--threads", type=number(int, 1), metavar="N", help="that compute")
    parser.add_argument("--json", action="store_true", help="print one JSON object at the end")
    parser.set_defaults(run=run)


def load_model(given: str | None):
    """The model and tokenizer of a path, and what was loaded."""
    from sorus.data import load_tokenizer
    from sorus.models import GPT

    if given and (Path(given) / "config.json").exists():
        folder = Path(given)
        if not (folder / "tokenizer.json").exists():
            raise CommandError(f"{folder}: expected tokenizer.json beside config.json, found none")
        return GPT.from_pretrained(folder), load_tokenizer(folder / "tokenizer.json"), folder
    checkpoint = runs.find_checkpoint(given)
    state = runs.load_state(checkpoint)
    with runs.reading(checkpoint):
        model = GPT(**state["config"])
        model.load_state_dict(state["model"])
    return model.eval(), load_tokenizer(runs.run_of(checkpoint) / "tokenizer.json"), checkpoint


def run(options: argparse.Namespace) -> int:
    import sorus

    if options.threads:
        sorus.set_num_threads(options.threads)
    model, tokenizer, path = load_model(options.model)
    ids = tokenizer.encode(options.prompt)
    if not ids:
        raise CommandError("--prompt is empty: there is nothing to go on from")
    highest = max(ids)
    if highest >= model.config["vocab_size"]:
        raise CommandError(f"{path}: the tokenizer has token {highest}, the model only {model.config['vocab_size']}")
    seed = options.seed if options.seed is not None else time.time_ns() % 2**31
    generator = sorus.Generator()
    generator.manual_seed(seed)
    end = tokenizer.token_to_id("<|endoftext|>")
    decoder = codecs.getincrementaldecoder("utf-8")("replace")  # a token may end inside a character
    pieces = [decoder.decode(tokenizer.decode_bytes(ids))]

    def show(text: str) -> None:
        pieces.append(text)
        if not options.json:
            sys.stdout.write(text)
            sys.stdout.flush()

    if not options.json:
        sys.stdout.write(pieces[0])
    started, count = time.monotonic(), 0
    for token in model.generate(ids, options.tokens, options.temperature, options.top_k, generator):
        count += 1
        if token == end:
            break
        show(decoder.decode(tokenizer.decode_bytes([token])))
    show(decoder.decode(b"", final=True))
    spent = time.monotonic() - started
    if options.json:
        print(json.dumps({"model": str(path), "prompt": options.prompt, "text": "".join(pieces), "tokens": count,
                          "tokens_per_s": round(count / spent, 1) if spent else None, "seed": seed}))  # fmt: skip
    else:
        print()
    return 0
