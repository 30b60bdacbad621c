"""Weights in a file, whoever wrote it: read, and freed of what was wrapped around them.     [I/O]

A file of ours holds the backbone under timm's own names, and the head under `point_head.*`. Files
of others hold more: optimiser states, arguments, two sets of weights, names of what was wrapped
around the network. Nothing in a file is ever run: torch reads it with `weights_only`, and foreign
objects become empty stand-ins.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from pickle import PickleError
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from luab_data.errors import OptionError

HEAD = "point_head."
_WRAPPERS = frozenset(
    ("_orig_mod", "module", "model", "backbone", "_fsdp_wrapped_module", "net", "network")
)
"""torch.compile, DDP and torch's averages, Lightning, LuabModel, FSDP; any order, any depth."""
_RAW_KEYS = ("state_dict", "model_state_dict", "model", "model_state", "net", "network", "weights")
_EMA_KEYS = ("state_dict_ema", "model_ema", "ema_state_dict", "ema_model", "ema", "model_ema_state")
"""Where timm, DeiT, torchvision, Lightning and others keep weights and their moving average."""
_NUMPY = ("dtype", "ndarray", "core.multiarray.scalar", "core.multiarray._reconstruct")
_OLD_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19"
"""How a file of torch before 1.6 begins: a pickle of its magic number."""
_FOREIGN = (
    "argparse.Namespace",
    "collections.defaultdict",
    "pathlib.PosixPath",
    "pathlib._local.PosixPath",
    *(f"numpy.{prefix}{name}" for name in _NUMPY for prefix in ("", "_")),
)
"""What checkpoints hold beside weights, for a format that cannot be asked."""


class _Number:
    """Stands for NumPy's numbers and types in a file; built from anything, holds nothing."""

    def __init__(self, *_: object) -> None: ...

    def __setstate__(self, _: object) -> None: ...


class _Dictionary:
    """Stands for any other object in a file: arguments, settings, enums; none of them is made."""

    def __new__(cls, *_: object) -> OrderedDict[str, Any]:  # type: ignore[misc]
        return OrderedDict()


def read_weights(
    path: Path, *, key: str | None = None, names: Collection[str] = ()
) -> dict[str, Tensor]:
    """A state dict from a safetensors or torch file, under the names of the network itself.

    Args:
        path: the file.
        key: which weights where a checkpoint holds several: a name in it, or `ema` for the moving
            average, whatever it is called there. None takes the raw ones; the average of a file
            that holds nothing else.
        names: of the network. What lies beside a wrapped network (a loss's weights) is left aside
            unless it is one of these.
    """
    return unwrapped(_choose(_load(path), key, path), names, path)


def read_facts(path: Path) -> str | None:
    """JSON that `luab-train export` wrote into a safetensors file; None of any other file."""
    if not _is_safetensors(path):
        return None
    try:
        with safe_open(path, "pt") as file:
            metadata: dict[str, str] = file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise _unreadable(path, error) from error
    return metadata.get("luab")


def _is_safetensors(path: Path) -> bool:
    return path.suffix == ".safetensors"


def _load(path: Path) -> Any:
    try:
        if _is_safetensors(path):
            return load_file(path)
        try:
            foreign = torch.serialization.get_unsafe_globals_in_checkpoint(str(path))
        except ValueError:  # the format of torch before 1.6 does not list them
            foreign = list(_FOREIGN)
        stand_ins: list[Any] = [
            (_Number if name.startswith("numpy") else _Dictionary, name) for name in foreign
        ]
        with torch.serialization.safe_globals(stand_ins):
            return torch.load(path, map_location="cpu", weights_only=True)
    except PickleError as error:
        if lacking := _lacking(path, error):
            raise OptionError(lacking) from error
        found = re.search(r"GLOBAL (\S+)", str(error))
        what = f"objects of {found[1]}" if found else "no plain weights"
        raise OptionError(
            f"{path}: cannot be read as weights: it holds {what}; save model.state_dict() instead"
        ) from error
    except (
        OSError, SafetensorError, RuntimeError, ValueError, EOFError, LookupError,
    ) as error:  # fmt: skip
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> OptionError:
    said = _lacking(path, error) or f"{path}: cannot be read as weights ({first_line(error)})"
    return OptionError(said)


def _lacking(path: Path, error: Exception) -> str | None:
    """The sentence for a file that was cut short, as by an interrupted copy; None of any other.

    safetensors begins with the length of its header, which says where the last tensor ends; a zip
    of torch ends with its directory; the format before torch 1.6 is pickles, then the tensors.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            begins = file.read(14)
            if _is_safetensors(path):
                end = 8 + int.from_bytes(begins[:8], "little")
                if 8 <= size and end < min(size, 2**27):
                    file.seek(8)
                    header: dict[str, Any] = json.loads(file.read(end - 8))
                    tensors = [v for name, v in header.items() if name != "__metadata__"]
                    end += max((tensor["data_offsets"][1] for tensor in tensors), default=0)
                is_short = size < 8 or size < end < 2**47  # text would be a longer header
            elif begins.startswith(b"PK"):
                is_short = not zipfile.is_zipfile(path)
            else:
                is_short = _OLD_MAGIC.startswith(begins) or (
                    begins == _OLD_MAGIC
                    and (isinstance(error, (EOFError, PickleError)) or "EOF" in str(error))
                )
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None
    if not is_short:
        return None
    return (
        f"{path}: cannot be read as weights: the file is cut short, at {size:,} bytes; copy or"
        " download it again"
    )


def first_line(error: Exception) -> str:
    """What a library says, without its pages of advice."""
    lines = str(error).splitlines()
    return lines[0][:200] if lines else type(error).__name__


def _choose(content: Any, key: str | None, path: Path) -> dict[str, Tensor]:
    """The state dict in a checkpoint, see `read_weights`."""
    content = {str(name): value for name, value in _items(content)}
    sets = {name: value for name, value in content.items() if _holds_tensors(value)}
    plain = {name: value for name, value in content.items() if isinstance(value, Tensor)}
    averaged = {n: value for n, value in plain.items() if n.partition(".")[0] in _EMA_KEYS}
    if key == "ema" and averaged:
        return {name.partition(".")[2]: value for name, value in averaged.items()}
    asked = _EMA_KEYS if key == "ema" else (key,) if key else (*_RAW_KEYS, *_EMA_KEYS)
    for name in asked:
        if name in sets:
            return _choose(sets[name], None, path)
    if key is not None:
        for name in _RAW_KEYS:  # Lightning keeps an average within its state dict
            if name in sets and any(n.partition(".")[0] in _EMA_KEYS for n in sets[name]):
                return _choose(sets[name], key, path)
        raise OptionError(
            f"{path}: holds no weights called {key}; found {', '.join(sets) or 'one state dict'}"
        )
    if len(plain) == len(averaged):
        raise OptionError(
            f"{path}: holds no state dict; expected name -> tensor, as model.state_dict() gives"
        )
    return {name: value for name, value in plain.items() if name not in averaged}


def _items(content: Any) -> Iterable[tuple[Any, Any]]:
    return content.items() if isinstance(content, Mapping) else ()


def _holds_tensors(value: Any) -> bool:
    """A state dict, or a checkpoint with one; an optimiser's state has numbers for names."""
    return any(
        isinstance(name, str) and (isinstance(inner, Tensor) or _holds_tensors(inner))
        for name, inner in _items(value)
    )


def unwrapped(
    weights: Mapping[str, Tensor], names: Collection[str], path: Path
) -> dict[str, Tensor]:
    """Without the names of wrappers, see `read_weights`."""
    while True:
        outer = {
            name
            for name in weights
            if name not in names and name.partition(".")[0] in _WRAPPERS and "." in name
        }
        if not outer:
            return dict(weights)
        inner = {
            name.partition(".")[2] if name in outer else name: value
            for name, value in weights.items()
            if name in outer or name in names or name.startswith(HEAD)
        }
        if len(inner) < len(outer):
            raise OptionError(
                f"{path}: holds one name under two wrappers"
                f" ({', '.join(sorted({name.partition('.')[0] for name in outer}))}); expected the"
                " weights of one network"
            )
        weights = inner
