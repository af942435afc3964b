"""sorus.save and sorus.load: nested Python values with tensors in them, in one safetensors file.

The tensors have the names of their places ("model.wte.weight"), so other programs read them; the rest is JSON in the
file's metadata. Nothing in a file is ever executed. Writing is atomic: a kill or a full disk leaves the older file.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from . import _core

_TENSOR, _TUPLE, _DICT, _FLOAT, _BYTES = "$tensor", "$tuple", "$dict", "$float", "$bytes"
_ROOT = "value"


class _Packer:
    """A value as JSON, and its tensors by name. Tensors that appear twice are stored once."""

    def __init__(self) -> None:
        self.tensors: dict[str, _core.Tensor] = {}
        self._names: dict[int, str] = {}

    def pack(self, value, path: tuple[str, ...]):
        if isinstance(value, _core.Tensor):
            return {_TENSOR: self._name(value, path)}
        if value is None or isinstance(value, (bool, str)):
            return value
        if isinstance(value, int):
            return int(value) if -(2**63) <= value < 2**64 else {"$int": str(value)}
        if isinstance(value, float):
            return float(value) if value - value == 0 else {_FLOAT: repr(float(value))}
        if isinstance(value, dict):
            # An object in JSON has no order; a dict has.
            plain = all(isinstance(key, str) and not key.startswith("$") for key in value)
            if plain and list(value) == sorted(value):
                return {key: self.pack(item, (*path, key)) for key, item in value.items()}
            pairs = value.items()
            return {_DICT: [[self.pack(k, (*path, "key")), self.pack(v, (*path, str(k)))] for k, v in pairs]}
        if isinstance(value, (list, tuple)):
            items = [self.pack(item, (*path, str(i))) for i, item in enumerate(value)]
            return items if isinstance(value, list) else {_TUPLE: items}
        if isinstance(value, bytes):
            return {_BYTES: value.hex()}
        if hasattr(value, "dtype") and hasattr(value, "item") and getattr(value, "ndim", 1) == 0:
            return self.pack(value.item(), path)  # NumPy's numbers
        where = ".".join(path) or "the value"
        hint = "; save its state_dict()" if hasattr(value, "state_dict") else ""
        raise TypeError(
            f"save: {where} is a {type(value).__name__}, expected tensors, numbers, text, None, "
            f"and dicts, lists and tuples of these{hint}"
        )

    def _name(self, tensor, path: tuple[str, ...]) -> str:
        if id(tensor) not in self._names:
            wanted = name = ".".join(path) or _ROOT
            n = 1
            while name in self.tensors:
                n += 1
                name = f"{wanted}#{n}"
            self._names[id(tensor)] = name
            self.tensors[name] = tensor
        return self._names[id(tensor)]


def _unpack(value, tensors, where: str):
    if isinstance(value, list):
        return [_unpack(item, tensors, where) for item in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        ((key, inner),) = value.items()
        try:
            if key == _TENSOR:
                return tensors[inner]
            if key == _TUPLE:
                return tuple(_unpack(item, tensors, where) for item in inner)
            if key == _DICT:
                return {_unpack(k, tensors, where): _unpack(v, tensors, where) for k, v in inner}
            if key == _FLOAT:
                return float(inner)
            if key == "$int":
                return int(inner)
            if key == _BYTES:
                return bytes.fromhex(inner)
        except (KeyError, TypeError, ValueError, AttributeError):
            raise OSError(f"{where}: the state is damaged: {key} of {str(inner)[:60]!r}") from None
    return {key: _unpack(item, tensors, where) for key, item in value.items()}


def _packed(value) -> tuple[dict, str]:
    import json

    packer = _Packer()
    state = packer.pack(value, ())
    return packer.tensors, json.dumps({_ROOT: state})


def save(obj, f) -> None:
    """Writes `obj` to the path `f`, atomically, or to a file object that is open for bytes.

    obj: tensors, numbers, text, bytes, None, and dicts, lists, tuples of these, nested (a state_dict, a checkpoint).
    TypeError names the place of anything else; OSError if the file cannot be written.
    """
    if not hasattr(f, "write"):
        return _core._io.save_checkpoint(Path(f), *_packed(obj))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "stream"
        _core._io.save_checkpoint(path, *_packed(obj))
        with path.open("rb") as file:
            shutil.copyfileobj(file, f)


def _foreign(path: Path) -> str | None:
    """What a file is that other programs write for the same purpose."""
    try:
        with path.open("rb") as file:
            start = file.read(4)
    except OSError:
        return None
    if start == b"PK\x03\x04":
        return "a zip archive, as torch.save writes it"
    return "a pickle" if start[:1] == b"\x80" and start[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05") else None


def load(f, map_location=None, *, weights_only: bool = True, mmap: bool = True):
    """Reads what `save` wrote, from a path or a file object; a safetensors file of another program is a dict of its tensors.

    Tensors are mapped. OSError if the file is not there, cut short or damaged.
    """
    import json

    if hasattr(f, "read"):
        with tempfile.TemporaryDirectory() as folder:  # what is mapped stays when the file's name goes
            path = Path(folder) / "stream"
            with path.open("wb") as file:
                shutil.copyfileobj(f, file)
            return load(path, map_location, weights_only=weights_only, mmap=mmap)

    try:
        tensors, state = _core._io.load_checkpoint(Path(f))
    except OSError as error:
        if (kind := _foreign(Path(f))) is not None:
            raise OSError(
                f"{os.fspath(f)}: {kind}, which can hold code and is not read; save the tensors as safetensors"
            ) from error
        raise
    state = json.loads(state)
    if _ROOT not in state:
        return tensors
    return _unpack(state[_ROOT], tensors, os.fspath(f))


class CheckpointFolder:
    """Checkpoints of one run, of which a kill at any moment never loses an older one.

    folder = CheckpointFolder("out/run/checkpoints", keep=3)
    folder.save(step, {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step})
    path = folder.latest()          # the newest whole one, or None
    state = sorus.load(path)
    """

    def __init__(self, folder, keep: int = 3) -> None:
        self._folder = _core._io.CheckpointFolder(Path(folder), keep)
        self.problems: list[str] = []  # what `latest` found wrong with newer files

    def save(self, step: int, value) -> Path:
        """Writes step-<step>.safetensors, then removes the oldest beyond `keep`."""
        return self._folder.save(step, *_packed(value))

    def list(self) -> list[Path]:
        return self._folder.list()

    def latest(self) -> Path | None:
        path, self.problems = self._folder.latest()
        return path
