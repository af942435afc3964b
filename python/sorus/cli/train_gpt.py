"""sorus train gpt: trains a language model on text."""

from __future__ import annotations

import argparse
import contextlib
import math
import signal
import tempfile
import time
from pathlib import Path

from . import CommandError, number, runs

# Layers, heads, width, tokens a sample, samples a step, vocabulary; learning rate, steps of warmup, steps between
# validations.
PRESETS = {
    "nano": {"n_layer": 4, "n_head": 4, "n_embd": 128, "context": 64, "batch": 12, "vocab": 1024,
             "lr": 2e-3, "warmup": 100, "val_every": 250},
    "small": {"n_layer": 6, "n_head": 6, "n_embd": 384, "context": 256, "batch": 8, "vocab": 4096,
              "lr": 1e-3, "warmup": 100, "val_every": 50},
    "gpt2": {"n_layer": 12, "n_head": 12, "n_embd": 768, "context": 256, "batch": 1, "vocab": 50257,
             "lr": 6e-4, "warmup": 200, "val_every": 50},
}  # fmt: skip

EXAMPLES = """examples:
  sorus train gpt                                     two minutes on Python's standard library
  sorus train gpt --data book.txt notes/ --minutes 10
  sorus train gpt --preset small --dtype bf16 --steps 500
  sorus train gpt --resume                            go on with the newest run below out/
  sorus train gpt --resume out/gpt-nano-1 --minutes 5
  sorus train gpt --steps 100 --json | jq .loss
  sorus train gpt --devices 4                         four ranks, threads of this process, as planned for this machine
  mpirun -n 4 sorus train gpt                         four ranks, processes
  sorus train gpt --devices 4 --fix dp=2,pp=2 --fix zero=1
"""


def configure(parser: argparse.ArgumentParser) -> None:
    models = parser.add_subparsers(dest="model", metavar="MODEL", required=True)
    gpt = models.add_parser("gpt", help="a GPT-2 on text files", formatter_class=argparse.RawDescriptionHelpFormatter,
                            epilog=EXAMPLES)  # fmt: skip
    gpt.description = ("Trains a GPT on text and shows how it goes. A run lies in a folder: checkpoints, losses as CSV "
                       "and PNG, the tokenizer, and at the end the model as a GPT-2 folder. Ctrl-C stops after the step; "
                       "--resume goes on with the same numbers, to the bit, as if it had not stopped.")  # fmt: skip
    positive, count = number(int, 1), number(int, 0)
    size = gpt.add_argument_group("the model")
    size.add_argument("--preset", choices=PRESETS, help="sizes to start from (nano)")
    size.add_argument("--layers", dest="n_layer", type=positive, metavar="N", help="transformer blocks")
    size.add_argument("--heads", dest="n_head", type=positive, metavar="N", help="attention heads")
    size.add_argument("--width", dest="n_embd", type=positive, metavar="N", help="numbers that stand for a token")
    size.add_argument("--context", type=positive, metavar="N", help="tokens that the model sees")
    size.add_argument("--vocab", type=number(int, 257), metavar="N", help="tokens of the tokenizer, which is trained")
    size.add_argument("--dropout", type=number(float, 0), metavar="P", help="share of activations dropped (0)")

    work = gpt.add_argument_group("training")
    work.add_argument("--data", nargs="+", metavar="PATH", help="text files or folders (Python's standard library)")
    work.add_argument("--steps", type=positive, metavar="N", help="stop after N steps")
    work.add_argument(
        "--minutes",
        type=number(float, 0),
        metavar="M",
        help="stop after about M minutes, those before a --resume included (2)",
    )
    work.add_argument("--batch", type=positive, metavar="N", help="samples of a step")
    work.add_argument("--grad-accum", type=positive, metavar="N", help="batches of a step (1)")
    work.add_argument("--lr", type=number(float, 0), metavar="X", help="the highest learning rate")
    work.add_argument("--warmup", type=count, metavar="N", help="steps in which the learning rate rises")
    work.add_argument("--dtype", type=_dtype, choices=["float32", "bfloat16", "float16"],
                      help="of the arithmetic (also f32, bf16, f16); weights are float32, f16 scales the loss")  # fmt: skip
    work.add_argument("--mode", choices=["eager", "compiled"], help="operators one by one, or a step as one graph")
    work.add_argument("--seed", type=count, metavar="N", help="of weights, order of the text, dropout (1337)")
    work.add_argument("--threads", type=positive, metavar="N", help="that compute (one a core)")
    work.add_argument("--anomaly", action="store_true", help="name the operator that makes a NaN (slow; eager mode)")

    work.add_argument("--memory-limit", type=_size, metavar="SIZE",
                      help="of tensors in reach at a time, as 300MB; the rest waits in host memory")  # fmt: skip
    work.add_argument("--offload-to", metavar="FOLDER", help="with a file there as host memory (this machine's)")

    many = gpt.add_argument_group("several devices")
    many.add_argument(
        "--devices", type=positive, metavar="N", help="ranks that train together: threads, or the processes of mpirun"
    )
    many.add_argument(
        "--fix",
        action="append",
        metavar="PINS",
        help="what must be so: dp=2,tp=1,pp=2,zero=1,micro=4,schedule=1f1b,chunks=1,recompute=1",
    )
    many.add_argument("--plan", metavar="FILE", help="a plan made by `sorus plan`")

    out = gpt.add_argument_group("results")
    out.add_argument("--out", metavar="FOLDER", help="of the run (out/gpt-PRESET-N)")
    out.add_argument("--resume", nargs="?", const="", metavar="PATH",
                     help="go on with a run or a checkpoint (the newest run)")  # fmt: skip
    out.add_argument("--val-every", type=positive, metavar="N", help="steps between validations")
    out.add_argument("--checkpoint-every", type=positive, metavar="N",
                     help="steps between checkpoints (twice a minute)")  # fmt: skip
    out.add_argument("--keep", type=count, default=3, metavar="N", help="checkpoints to keep (3; 0: all)")
    out.add_argument("--json", action="store_true", help="print one JSON object a step, and nothing else")
    gpt.set_defaults(run=run)


def _size(text: str) -> int:
    from sorus.utils.memory import parse_size

    try:
        return parse_size(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _dtype(text: str) -> str:
    return {"f32": "float32", "fp32": "float32", "bf16": "bfloat16", "f16": "float16", "fp16": "float16"}.get(
        text, text
    )


def standard_library() -> str:
    """The sources of the Python that runs this."""
    import sysconfig

    return sysconfig.get_paths()["stdlib"]


def _settings(options: argparse.Namespace, saved: dict | None):
    """What was given, else what the checkpoint says, else the preset."""
    from .training import Settings

    given = {name: value for name, value in vars(options).items()
             if value is not None and name in Settings.__dataclass_fields__}  # fmt: skip
    if saved is not None:
        fixed = (
            "n_layer",
            "n_head",
            "n_embd",
            "context",
            "vocab",
            "batch",
            "grad_accum",
            "seed",
            "dropout",
            "warmup",
        )
        options_of = {"n_layer": "layers", "n_head": "heads", "n_embd": "width", "grad_accum": "grad-accum"}
        for name in fixed:
            if name in given and given[name] != saved[name]:
                raise CommandError(
                    f"--{options_of.get(name, name)} is {given[name]}, but the checkpoint "
                    f"was trained with {saved[name]}; leave it out to resume, or start a new run"
                )
        return Settings(**{**saved, **given})
    preset = {k: v for k, v in PRESETS[options.preset or "nano"].items() if k in Settings.__dataclass_fields__}
    settings = Settings(**{**preset, "data": [standard_library()], **given})
    if settings.n_embd % settings.n_head:
        raise CommandError(f"--width {settings.n_embd} is not a multiple of --heads {settings.n_head}")
    return settings


def _arrangement(options: argparse.Namespace, settings):
    """What --devices, --fix and --plan ask for; None for one device."""
    from sorus.distributed.arrangement import Arrangement

    if options.plan is None and options.devices is None:
        if options.fix:
            raise CommandError("--fix needs --devices")
        return None
    if settings.mode != "compiled":
        raise CommandError("--devices needs --mode compiled: the step is cut as one graph")
    if settings.grad_accum != 1:
        raise CommandError("--devices and --grad-accum exclude each other; --fix micro=N cuts the batch of a step")
    try:
        if options.plan is not None:
            if options.fix:
                raise CommandError("either --plan or --fix, not both")
            found = Arrangement.from_plan(options.plan, settings.batch)
            if options.devices not in (None, found.devices):
                raise CommandError(f"--devices {options.devices}, but {options.plan} is for {found.devices}")
            return found
        return Arrangement.of(options.devices, settings.batch, options.fix)
    except (ValueError, OSError) as error:
        raise CommandError(str(error)) from None


class _Stop:
    """Ctrl-C and SIGTERM end a run after the step; the second time at once."""

    def __init__(self) -> None:
        self.asked = False

    def __enter__(self) -> _Stop:
        self._before = {s: signal.signal(s, self._ask) for s in (signal.SIGINT, signal.SIGTERM)}
        return self

    def _ask(self, number, frame) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True

    def __exit__(self, *_) -> None:
        for which, handler in self._before.items():
            signal.signal(which, handler)


def run(options: argparse.Namespace) -> int:
    import sorus
    from sorus.serialization import CheckpointFolder

    from .ranks import Ranks
    from .report import Csv, Silent, make_display

    if options.steps and options.minutes:
        raise CommandError("either --steps or --minutes, not both")
    if options.threads:
        sorus.set_num_threads(options.threads)
    ranks = Ranks()
    if ranks.size > 1:
        if options.devices not in (None, ranks.size):
            raise CommandError(f"--devices {options.devices}, but there are {ranks.size} processes")
        options.devices = None if options.plan else ranks.size
    checkpoint = state = None
    if options.resume is not None:
        checkpoint = ranks.of_first(lambda: runs.find_checkpoint(options.resume or options.out))
        state = runs.load_state(checkpoint)
    with runs.reading(checkpoint) if checkpoint else contextlib.nullcontext():
        settings = _settings(options, state and state["settings"])
    arrangement = _arrangement(options, settings)  # errors before anything is read
    if options.memory_limit:
        from sorus.utils.memory import set_memory_limit

        if arrangement or ranks.size > 1 or settings.mode != "compiled":
            raise CommandError("--memory-limit needs --mode compiled and one device")
        try:
            set_memory_limit(options.memory_limit, options.offload_to)
        except (ValueError, OSError) as error:
            raise CommandError(f"--memory-limit: {error}") from None
    elif options.offload_to:
        raise CommandError("--offload-to needs --memory-limit")
    folder = Path(options.out) if options.out else runs.run_of(checkpoint) if checkpoint else None
    folder = ranks.of_first(lambda: folder or runs.new_folder(options.preset or "nano"))
    scratch = None
    if not ranks.first:  # what this rank would write is rank 0's to keep
        scratch = tempfile.TemporaryDirectory()
        folder = Path(scratch.name)
    checkpoints = CheckpointFolder(folder / "checkpoints", options.keep)
    if checkpoint is None and checkpoints.list():
        raise CommandError(
            f"{folder}: there is a run already; go on with it by --resume {folder}, or choose another --out"
        )

    display = make_display(options.json) if ranks.first else Silent()
    display.begin(folder, checkpoint)
    training = _prepare(options, ranks, folder, settings, checkpoint, state, display, arrangement)
    if options.anomaly:
        if settings.mode != "eager":
            raise CommandError("--anomaly needs --mode eager")
        sorus.autograd.set_detect_anomaly(True)
    if state is None or options.steps or options.minutes:
        target = {"steps": options.steps, "minutes": None if options.steps else options.minutes or 2.0}
    else:
        target = state["target"]
    if target["steps"]:
        training.schedule.end_at(target["steps"])
    elif state is not None and options.minutes:
        training.schedule.total = training.schedule.decay_from = 0
    csv = Csv(folder / "loss.csv", training.step)
    val_every = options.val_every or (state or {}).get("val_every") or PRESETS[options.preset or "nano"]["val_every"]
    extra = {"target": target, "val_every": val_every}
    with _Stop() as stop:
        finished = _loop(
            training, target, val_every, options.checkpoint_every, checkpoints, extra, csv, display, stop, ranks
        )
    if ranks.first:
        _finish(training, folder, checkpoints, csv, display, finished)
    ranks.agree()  # none leaves before the files are written
    if scratch:
        csv.close()
        scratch.cleanup()
    return 0


def _prepare(options, ranks, folder: Path, settings, checkpoint, state, display, arrangement=None):
    """Text, tokenizer, model; everything before the first step."""
    from sorus._core import _io
    from sorus.data import load_text, load_tokenizer

    from .training import Training

    kept = (runs.run_of(checkpoint) if checkpoint else folder) / "tokenizer.json"
    tokenizer = load_tokenizer(kept) if checkpoint else None
    started = time.monotonic()
    text = load_text(settings.data, vocab_size=settings.vocab, tokenizer=tokenizer)
    folder.mkdir(parents=True, exist_ok=True)
    text.tokenizer.save(folder / "tokenizer.json")
    predicted: dict | None = None
    plan_again = None
    if settings.mode == "compiled" and settings.grad_accum == 1:
        from .planned import plan_here

        devices = options.devices or (arrangement.devices if arrangement else 1)
        vocabulary, fix = text.tokenizer.vocab_size, options.fix or []
        planned, predicted = ranks.of_first(
            lambda: plan_here(settings, vocabulary, devices, fix, arrangement, ranks.size, given=not options.devices)
        )
        arrangement = arrangement and planned

        def plan_again() -> dict | None:
            return plan_here(settings, vocabulary, devices, fix, planned, ranks.size, given=True)[1]

    training = Training(settings, text.train, text.validation, text.tokenizer.vocab_size, arrangement)
    training.plan, training.plan_again = predicted, plan_again
    training.tokenizer = text.tokenizer
    if state is not None:
        with runs.reading(checkpoint):
            training.load(state)
        training.schedule.peak = settings.lr
    else:
        import json

        _io.write_file(folder / "run.json", json.dumps(vars(settings), indent=2) + "\n")
    display.prepared(training, text, time.monotonic() - started)
    return training


def _loop(training, target, val_every, checkpoint_every, checkpoints, extra, csv, display, stop, ranks) -> bool:
    """Steps until the target; whether it was reached."""
    schedule = training.schedule
    limit = (target["minutes"] or 0) * 60
    start = time.monotonic() - training.seconds
    saved_at, saved_step, pause = time.monotonic(), training.step, 30.0

    def save() -> None:
        nonlocal saved_at, saved_step, pause
        began = time.monotonic()
        training.seconds = began - start
        state = {**training.state(), **extra}  # of all ranks
        if ranks.first:
            training.checkpoint = checkpoints.save(training.step, state)
        saved_at, saved_step = time.monotonic(), training.step
        pause = max(30.0, 20 * (saved_at - began))  # at most a twentieth of the time goes into checkpoints

    while True:
        now, late, asked = ranks.agree(time.monotonic() - start, time.monotonic() - saved_at > pause, stop.asked)
        if asked:
            break
        if not target["steps"]:
            schedule.end_after(training.step, now, limit)
        if schedule.total and training.step >= schedule.total:
            break
        before = time.monotonic()
        rate = schedule.lr(training.step)
        loss = training.train_step()
        spent = time.monotonic() - before
        if not math.isfinite(loss) and not training.step_left_out():
            raise CommandError(
                f"the loss became {loss} at step {training.step}; the newest checkpoint is of step "
                f"{saved_step}. Try a smaller --lr, or --mode eager --anomaly to see which operator "
                "made it"
            )
        last = bool(schedule.total) and training.step >= schedule.total
        val_loss = training.validate() if training.step % val_every == 0 or last else None
        elapsed = time.monotonic() - start
        csv.add(training.step, loss, val_loss, rate, training.tokens_per_step / spent, elapsed)
        done = training.step / schedule.total if schedule.total else elapsed / limit if limit else 0.0
        display.step(training, loss, val_loss, spent, done, elapsed)
        due = training.step % checkpoint_every == 0 if checkpoint_every else late
        if due and not last:
            save()
    if training.step > saved_step or ranks.of_first(lambda: not checkpoints.list()):
        display.note("writing the checkpoint")
        save()
    training.seconds = time.monotonic() - start
    return not asked


def _finish(training, folder: Path, checkpoints, csv, display, finished: bool) -> None:
    from .report import plot, summary

    training.model.eval()
    training.model.save_pretrained(folder / "model")
    training.tokenizer.save(folder / "model" / "tokenizer.json")
    csv.close()
    with contextlib.suppress(ImportError):
        plot(csv.rows(), folder / "loss.png", training)
    display.end(summary(training, folder, checkpoints, csv, finished), sample_text(training))


def sample_text(training, tokens: int = 160) -> str:
    """What the model writes, always by the same draws; large models get a few seconds."""
    import itertools

    import sorus

    generator = sorus.Generator()
    generator.manual_seed(training.settings.seed)
    ids = training.tokenizer.encode("def ")
    until = time.monotonic() + 10
    written = training.model.generate(ids, tokens, temperature=0.8, top_k=50, generator=generator)
    new = itertools.takewhile(lambda token: time.monotonic() < until, written)
    return training.tokenizer.decode([*ids, *new])
