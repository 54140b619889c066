"""The kinds of damage that the harness does."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

HOSTILE = ("a\0b", "[bold]x[/bold]", "[/]", "=cmd()", "<!--<script>", "../../x", "/etc/passwd", "\u00b2", "x" * 100_000)


@dataclass(frozen=True)
class Kind:
    """One kind of damage."""

    name: str
    fits: Callable[[Path], bool]
    apply: Callable[[Path, np.random.Generator, Path], str]


def _files(path: Path) -> list[Path]:
    return sorted(p for p in path.rglob("*") if p.is_file() and p.stat().st_size) if path.is_dir() else [path]


def _flip(path: Path, rng: np.random.Generator, _: Path) -> str:
    part = _files(path)[int(rng.integers(len(_files(path))))]
    blob = bytearray(part.read_bytes())
    for _n in range(int(rng.integers(1, 4))):
        blob[int(rng.integers(len(blob)))] ^= 1 << int(rng.integers(8))
    part.write_bytes(blob)
    return part.name


def _cut(path: Path, rng: np.random.Generator, _: Path) -> str:
    part = _files(path)[int(rng.integers(len(_files(path))))]
    os.truncate(part, int(part.stat().st_size * rng.random()))
    return part.name


def _zeros(path: Path, rng: np.random.Generator, _: Path) -> str:
    part = _files(path)[int(rng.integers(len(_files(path))))]
    blob = bytearray(part.read_bytes())
    start = int(rng.integers(len(blob)))
    stop = min(len(blob), start + int(rng.integers(1, 64)))
    blob[start:stop] = bytes(stop - start)
    part.write_bytes(blob)
    return part.name


def _lose(path: Path, rng: np.random.Generator, _: Path) -> str:
    part = _files(path)[int(rng.integers(len(_files(path))))]
    part.unlink()
    return str(part.relative_to(path))


def _replace(path: Path, rng: np.random.Generator, secret: Path) -> str:
    part = _files(path)[int(rng.integers(len(_files(path))))]
    part.unlink()
    what = int(rng.integers(3))
    if what == 0:
        part.symlink_to(secret)
    elif what == 1:
        os.mkfifo(part)
    else:
        part.symlink_to(part)
    return f"{part.name} is now {('a link out', 'a pipe', 'a loop')[what]}"


def _declare(path: Path, rng: np.random.Generator, _: Path) -> str:
    """A zarr array that claims another size, in both places where it is noted."""
    metas = [p for p in _files(path) if p.name == "zarr.json" and json.loads(p.read_text())["node_type"] == "array"]
    meta = metas[int(rng.integers(len(metas)))]
    factor = int(rng.choice([2, 1000, 10**12]))
    place = meta.parent.relative_to(path).as_posix()
    for file in (meta, path / "zarr.json"):
        content = json.loads(file.read_text())
        held = content if file == meta else content.get("consolidated_metadata", {}).get("metadata", {}).get(place)
        if held is None:
            continue
        node = held
        node["shape"] = [int(size) * factor for size in node["shape"]] or [factor]
        file.write_text(json.dumps(content))
    return f"{place} x {factor}"


def _json(path: Path, rng: np.random.Generator, _: Path) -> str:
    files = [path] if path.is_file() else sorted(path.glob("*.json"))
    file = files[int(rng.integers(len(files)))]
    content = json.loads(file.read_text())
    keys = list(content)
    key = keys[int(rng.integers(len(keys)))]
    hostile = ["[" * 100_000 + "]" * 100_000, "9" * 5000, "NaN", "1e999", "{}", "[]", "null", '"x"', "true", "-1"]
    value = hostile[int(rng.integers(len(hostile)))]
    rest = json.dumps({k: v for k, v in content.items() if k != key})[:-1]
    file.write_text(f"{rest}, {json.dumps(key)}: {value}}}")
    return f"{key} = {value[:20]}"


def _link(path: Path, rng: np.random.Generator, secret: Path) -> str:
    import h5py

    with h5py.File(path, "r+") as file:
        places: list[str] = []
        file.visit(places.append)
        place = places[int(rng.integers(len(places)))]
        what = str(rng.choice(["external", "soft", "loop", "storage", "virtual"]))
        shape = getattr(file[place], "shape", (48,)) or (48,)
        del file[place]
        if what == "external":
            file[place] = h5py.ExternalLink(str(secret), "/text")
        elif what == "soft":
            file[place] = h5py.SoftLink("/obs")
        elif what == "loop":
            file[place] = h5py.SoftLink(f"/{place}")
        elif what == "storage":
            file.create_dataset(place, shape, np.float32, external=[(str(secret), 0, h5py.h5f.UNLIMITED)])
        else:
            layout = h5py.VirtualLayout((48,), np.float64)
            layout[:] = h5py.VirtualSource(str(secret), "numbers", (48,))
            file.create_virtual_dataset(place, layout)
    return f"{what} at {place}"


def _value(path: Path, rng: np.random.Generator, _: Path) -> str:
    """Another number or text in an HDF5 array, as an editor would leave it."""
    import h5py

    with h5py.File(path, "r+") as file:
        sets: list[str] = []
        file.visititems(lambda name, item: sets.append(name) if isinstance(item, h5py.Dataset) else None)
        place = sets[int(rng.integers(len(sets)))]
        item = file[place]
        if h5py.check_string_dtype(item.dtype):
            value = HOSTILE[int(rng.integers(len(HOSTILE)))].replace("\0", "\u2400")
        else:
            value = item.dtype.type(rng.choice([1, 100])) if item.dtype.kind != "b" else True
            value = item.dtype.type(-1) if item.dtype.kind in "if" and rng.random() < 0.5 else value
        if item.shape == ():
            item[()] = value
        elif item.size:
            flat = item[()].reshape(-1)
            flat[int(rng.integers(flat.size))] = value
            item[...] = flat.reshape(item.shape)
    return f"{place} = {str(value)[:20]!r}"


def _twice(path: Path, rng: np.random.Generator, _: Path) -> str:
    """A key of a JSON object a second time, with what another key says."""
    files = [path] if path.is_file() else sorted(path.glob("*.json"))
    file = files[int(rng.integers(len(files)))]
    content = json.loads(file.read_text())
    key, other = (list(content)[int(rng.integers(len(content)))] for _n in range(2))
    pair = f"{json.dumps(key)}: {json.dumps(content[other])}"
    rest = json.dumps(content)[1:]
    file.write_text("{" + f"{pair}, {rest}" if rng.random() < 0.5 else "{" + f"{rest[:-1]}, {pair}}}")
    return f"{key} as {other}"


def _arrays(path: Path) -> list[Path]:
    return [p for p in _files(path) if p.name == "zarr.json" and json.loads(p.read_text())["node_type"] == "array"]


def _zarr_value(path: Path, rng: np.random.Generator, _: Path) -> str:
    """Another value in a zarr array, written by zarr, so that no checksum of a chunk is wrong."""
    import zarr

    metas = _arrays(path)
    place = metas[int(rng.integers(len(metas)))].parent
    array = zarr.open_array(place, mode="r+")
    if not array.size:
        return "an empty array"
    flat = np.asarray(array[...]).reshape(-1).copy()
    at = int(rng.integers(flat.size))
    if flat.dtype.kind in "OUT":
        flat[at] = HOSTILE[int(rng.integers(len(HOSTILE)))]
    elif flat.dtype.kind == "b":
        flat[at] = not flat[at]
    else:
        flat[at] = flat.dtype.type(rng.choice([1, 100]) if flat.dtype.kind == "u" else rng.choice([-1, 1, 100]))
    array[...] = flat.reshape(array.shape)
    return f"{place.relative_to(path)}[{at}]"


def _zarr_meta(path: Path, rng: np.random.Generator, _: Path) -> str:
    """Another type, fill value, chunk or codec of a zarr array, in both places where it is noted."""
    metas = _arrays(path)
    meta = metas[int(rng.integers(len(metas)))]
    changes = {
        "data_type": ["int8", "uint64", "float16", "complex128", "string", "nonsense"],
        "fill_value": [7, "NaN", None, "x" * 1000],
        "chunk_grid": [
            {"name": "regular", "configuration": {"chunk_shape": shape}} for shape in ([0], [1], [10**12], [1, 1, 1])
        ],
        "codecs": [[], [{"name": "bytes", "configuration": {"endian": "big"}}], [{"name": "nonsense"}], "zstd"],
        "attributes": [{}, {"encoding-type": "nonsense", "encoding-version": "9"}, {"encoding-type": "csr_matrix"}],
        "zarr_format": [2, 9, "3"],
    }
    key = str(rng.choice(sorted(changes)))
    value = changes[key][int(rng.integers(len(changes[key])))]
    place = meta.parent.relative_to(path).as_posix()
    for file in (meta, path / "zarr.json"):
        content = json.loads(file.read_text())
        held = content if file == meta else content.get("consolidated_metadata", {}).get("metadata", {}).get(place)
        if held is not None:
            held[key] = value
            file.write_text(json.dumps(content))
    return f"{place} {key} = {str(value)[:40]}"


def _h5_attribute(path: Path, rng: np.random.Generator, _: Path) -> str:
    """An attribute that says how something is encoded, gone or another."""
    import h5py

    with h5py.File(path, "r+") as file:
        places: list[tuple[str, str]] = [("/", key) for key in file.attrs]
        file.visititems(lambda name, item: places.extend((name, key) for key in item.attrs) and None)
        place, key = places[int(rng.integers(len(places)))]
        values = [None, "nonsense", "csc_matrix", "categorical", "dataframe", 7, [3, 10**12], [-1, -1], "x" * 10_000]
        value = values[int(rng.integers(len(values)))]
        del file[place].attrs[key]
        if value is not None:
            file[place].attrs[key] = value
    return f"{place}@{key} = {str(value)[:20]}"


def _always(path: Path) -> bool:
    return True


def _is_h5(path: Path) -> bool:
    return path.suffix == ".h5ad"


def _is_zarr(path: Path) -> bool:
    return path.suffix == ".zarr" and (path / "zarr.json").is_file()


def _has_json(path: Path) -> bool:
    return path.suffix == ".json" or (path.is_dir() and path.suffix == "")


def _is_text(path: Path) -> bool:
    return path.suffix in (".csv", ".json", ".txt")


def _text(path: Path, rng: np.random.Generator, _: Path) -> str:
    """Something hostile somewhere in a text."""
    text = path.read_text()
    at = int(rng.integers(len(text) + 1))
    word = HOSTILE[int(rng.integers(len(HOSTILE)))]
    path.write_text(text[:at] + word + text[at:], encoding="utf-8")
    return f"{word[:20]!r} at {at}"


def _is_archive(path: Path) -> bool:
    return path.suffix == ".vcc"


def _archive(path: Path, rng: np.random.Generator, secret: Path) -> str:
    """Another member in an archive: a link out, a name that leads out, zeros without end, or none."""
    import io
    import tarfile

    with tarfile.open(path) as tar:
        members = [(member, tar.extractfile(member).read()) for member in tar.getmembers()]
    what = str(rng.choice(["link", "name", "bomb", "gone", "twice", "device"]))
    with tarfile.open(path, "w") as tar:
        for member, content in members:
            if member.name.endswith(".zst"):
                if what == "gone":
                    continue
                if what in ("link", "device"):
                    member.type = tarfile.SYMTYPE if what == "link" else tarfile.CHRTYPE
                    member.linkname, member.size, content = str(secret), 0, b""
                if what == "name":
                    member.name = "../../out.h5ad.zst"
                if what == "bomb":
                    import pyarrow

                    content = pyarrow.compress(b"\0" * (1 << 28), codec="zstd", asbytes=True)
                    member.size = len(content)
            for _n in range(2 if what == "twice" else 1):
                tar.addfile(member, io.BytesIO(content))
    return what


KINDS = (
    Kind("flip", _always, _flip),
    Kind("cut", _always, _cut),
    Kind("zeros", _always, _zeros),
    Kind("lost file", Path.is_dir, _lose),
    Kind("link or pipe", Path.is_dir, _replace),
    Kind("declared size", _is_zarr, _declare),
    Kind("zarr value", _is_zarr, _zarr_value),
    Kind("zarr metadata", _is_zarr, _zarr_meta),
    Kind("json", _has_json, _json),
    Kind("json key twice", _has_json, _twice),
    Kind("text", _is_text, _text),
    Kind("archive", _is_archive, _archive),
    Kind("hdf5 reference", _is_h5, _link),
    Kind("hdf5 value", _is_h5, _value),
    Kind("hdf5 attribute", _is_h5, _h5_attribute),
)
