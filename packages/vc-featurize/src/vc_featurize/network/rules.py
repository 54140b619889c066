"""Which weights may be loaded: safetensors only, a pinned revision, offline by default, no code of others unasked."""

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vc_featurize.errors import InputError

# Weights whose own modelling code may run, with the commits that were read by a person: id -> (revision, code revision).
# Empty on purpose: remote code runs only where a user pins it with `--code` (a commit, or the hash of a folder), knowingly.
ALLOWED_CODE: dict[str, tuple[str, str]] = {}
COMMIT = re.compile(r"[0-9a-f]{40}")
PICKLED = (".bin", ".pt", ".pth", ".pkl", ".ckpt")


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Where the weights of an encoder are and under which rules they are loaded.

    Attributes:
        path: A local `from_pretrained` folder, or an id on the hub (only with `online` or where it is cached).
        revision: The commit of an id on the hub; the expected `weights_hash` of a local folder, checked where given.
        code: Commit of the modelling code that may run; empty: none may.
        online: Whether the hub may be asked.
    """

    path: str
    revision: str = ""
    code: str = ""
    online: bool = False


def resolve_folder(weights: Weights) -> Path:
    """The local folder of the weights, fetched to the cache only where that was allowed.

    Raises:
        InputError: If the weights are not at hand, the revision is not pinned or differs, or they are pickled.
    """
    folder = Path(weights.path)
    if not folder.is_dir():
        folder = _from_hub(weights)
    elif weights.revision and weights.revision != weights_hash(folder):
        raise InputError(
            f"{folder}: expected weights with hash {weights.revision}, found {weights_hash(folder)}. "
            "The weights were changed: get the right ones, or give the new hash knowingly."
        )
    if not any(folder.glob("*.safetensors")):
        pickled = sorted(p.name for p in folder.iterdir() if p.suffix in PICKLED)
        found = f"{pickled}, which can run code when opened" if pickled else "no weights"
        raise InputError(f"{folder}: expected weights as .safetensors, found {found}. Convert them first.")
    return folder


def weights_hash(folder: Path) -> str:
    """Sha256 over the names and bytes of config, tokenizer and weights of a folder."""
    digest = hashlib.sha256()
    for fpath in sorted(p for p in folder.iterdir() if p.suffix in (".safetensors", ".json", ".txt", ".py")):
        with fpath.open("rb") as fd:
            digest.update(f"{fpath.name}\0{hashlib.file_digest(fd, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()


def read_config(folder: Path) -> dict[str, Any]:
    """The checkpoint's `config.json`.

    Raises:
        InputError: If it is absent or no JSON object.
    """
    try:
        config = json.loads((folder / "config.json").read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{folder}: expected a config.json, found none that can be read ({error}).") from error
    if not isinstance(config, dict):
        raise InputError(f"{folder}: config.json: expected a JSON object, found {type(config).__name__}.")
    return config


def check_architecture(folder: Path, config: dict[str, Any], wanted: tuple[str, ...]) -> None:
    """Refuse a checkpoint of another architecture than the encoder is for; an empty `wanted` takes any.

    Raises:
        InputError: If `model_type` is none of `wanted`.
    """
    found = config.get("model_type")
    if wanted and found not in wanted:
        raise InputError(
            f"{folder}: config.json model_type: expected one of {list(wanted)}, found {found!r}. "
            "Give weights of this architecture, or use the encoder `transformer`."
        )


def remote_class(folder: Path, config: dict[str, Any], weights: Weights) -> str | None:
    """Name of the auto class through which the checkpoint's own code is loaded; None where it has none.

    Raises:
        InputError: If it has code and running it was not allowed for exactly these commits.
    """
    auto_map = config.get("auto_map") or {}
    if not auto_map:
        return None
    elsewhere = sorted(str(place) for place in auto_map.values() if "--" in str(place))
    if elsewhere:
        raise InputError(
            f"{folder}: config.json auto_map: expected code that lies beside the weights, found code of another place "
            f"({elsewhere}), which no hash of this folder covers. Put it into the folder and name it there."
        )
    local = Path(weights.path).is_dir()
    allowed = (
        weights.code == weights_hash(folder)
        if local
        else ALLOWED_CODE.get(weights.path) == (weights.revision, weights.code)
    )
    if not allowed and not local:
        raise InputError(
            f"{weights.path}: this checkpoint runs Python code of its own ({sorted(auto_map)}), and this revision of it is not "
            "on the list of code that was read (vc_featurize.network.rules.ALLOWED_CODE). Download it, read the code, and give "
            "the folder."
        )
    if not allowed:
        raise InputError(
            f"{folder}: this checkpoint runs Python code of its own ({sorted(auto_map)}). Read that code; then allow "
            f"exactly it with --code and the hash of the folder, {weights_hash(folder)}."
        )
    return "AutoModel" if "AutoModel" in auto_map else sorted(auto_map)[0]


def _from_hub(weights: Weights) -> Path:
    from huggingface_hub import snapshot_download

    if not COMMIT.fullmatch(weights.revision):
        raise InputError(
            f"{weights.path}: no such folder; for an id on the hub expected --revision with a commit of 40 hex digits, "
            f"found {weights.revision or 'nothing'!r}. Names such as 'main' move."
        )
    patterns = ["*.safetensors", "*.json", "*.txt", "*.model", *(["*.py"] if weights.code else [])]
    try:
        return Path(
            snapshot_download(
                weights.path, revision=weights.revision, local_files_only=not weights.online, allow_patterns=patterns
            )
        )
    except Exception as error:  # the hub fails in many foreign ways: offline, no such commit, access asked for
        how = "Allow the download with --online" if not weights.online else "Check id, revision and your access token"
        raise InputError(
            f"{weights.path}@{weights.revision}: not in the local cache or not to be had ({error}). {how}."
        ) from error
