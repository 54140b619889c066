"""Makes tiny valid and broken files of every contract in docs/contracts, without any of our packages.

    python tests/contracts/make_corpus.py OUT_DIR            # OUT_DIR/<contract>/valid|broken/<name>
    python tests/contracts/make_corpus.py --freeze OUT_DIR   # OUT_DIR/<contract>-v1.zarr.zip

Frozen files are made once per major version of a contract and never again: they stand for what users have on disk.
checkpoint-v1 is not here, because a valid one needs a fitted model; its test damages a fresh one.
"""

import shutil
import sys
import zipfile
from pathlib import Path

from corpus import effects, features, latents, predictions, scores, screen, splits
from corpus.base import Example, write
from corpus.generated import generated_examples

EXAMPLES: list[Example] = [
    example
    for module in (screen, splits, features, predictions, effects, latents, scores)
    for example in module.EXAMPLES
]
ANNDATA_BASES = {
    "screen": screen.screen,
    "features": features.features,
    "predictions": predictions.predictions,
    "effects": effects.effects,
    "latents": latents.latents,
}

EXAMPLES += [example for name, base in ANNDATA_BASES.items() for example in generated_examples(name, base)]


def make_corpus(out_dir: str | Path) -> Path:
    """Write every example under `out_dir`; the same seed gives the same arrays."""
    out_dir = Path(out_dir)
    for example in EXAMPLES:
        path = out_dir / example.path
        path.parent.mkdir(parents=True, exist_ok=True)
        example.make(path)
    return out_dir


def freeze(out_dir: str | Path) -> None:
    """Write `<contract>-v1.zarr.zip` for every AnnData contract, with fixed times inside."""
    out_dir = Path(out_dir)
    out_dir.mkdir(parents=True, exist_ok=True)
    for contract, base in ANNDATA_BASES.items():
        folder = out_dir / f"{contract}-v1.zarr"
        write(base(), folder)
        with zipfile.ZipFile(f"{folder}.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
            for part in sorted(p for p in folder.rglob("*") if p.is_file()):
                entry = zipfile.ZipInfo(part.relative_to(folder).as_posix(), (2026, 1, 1, 0, 0, 0))
                entry.compress_type = zipfile.ZIP_DEFLATED
                archive.writestr(entry, part.read_bytes())
        shutil.rmtree(folder)


if __name__ == "__main__":
    target = sys.argv[-1]
    if len(sys.argv) < 2 or target.startswith("-"):
        sys.exit(__doc__)
    freeze(target) if "--freeze" in sys.argv else make_corpus(target)
    print(f"wrote {target}")
