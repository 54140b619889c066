"""From entities and texts to a bank: equal texts are encoded once, in batches of like length, shard by shard."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from vc_featurize.bank import FeatureBank
from vc_featurize.errors import InputError
from vc_featurize.run.batches import encode_halving, length_batches
from vc_featurize.run.encoder import SequenceEncoder
from vc_featurize.run.shards import ShardStore

SHARD = 1024  # texts a shard
BUDGET = 2048  # tokens a batch on a CPU; give 8,000 to 16,000 on a GPU


def text_key(text: str) -> str:
    """Sha256 of a prepared text: what says that two entities share a vector."""
    return hashlib.sha256(text.encode()).hexdigest()


def encode_bank(
    encoder: SequenceEncoder,
    entities: Sequence[str],
    texts: Sequence[str | None],
    kind: str,
    *,
    sources: Sequence[str] | None = None,
    budget: int = BUDGET,
    work: str | Path | None = None,
    scheduler: str | None = None,
) -> FeatureBank:
    """Encode texts into a bank; what cannot be encoded stays as a row marked missing, with the reason.

    Args:
        encoder: What turns texts into vectors.
        entities: Names as in the targets of a screen, each once.
        texts: The sequence or SMILES of each entity; None where none was found.
        kind: `gene`, `guide`, `protein` or `compound`.
        sources: Id of the record behind each text; the sha256 of the prepared text by default.
        budget: Most tokens in one batch.
        work: Folder in which finished shards are kept; a run that was killed goes on there.
        scheduler: Address of a Dask scheduler whose workers encode the shards.

    Raises:
        InputError: If an entity occurs twice, the lengths differ, or the encoder returns values that are not finite.
    """
    if len(entities) != len(texts):
        raise InputError(f"expected one text per entity, found {len(entities)} entities and {len(texts)} texts.")
    repeated = (
        sorted({name for name in entities if entities.count(name) > 1}) if len(set(entities)) < len(entities) else []
    )
    if repeated:
        raise InputError(f"entities: expected each name once, found {len(repeated)} repeated: {repeated[:5]}.")
    prepared = [(None, "nothing was found for it") if text is None else encoder.prepare(text) for text in texts]
    unique = sorted({text for text, _ in prepared if text is not None}, key=lambda t: (-encoder.length(t), text_key(t)))
    vectors_ud = encode_unique(encoder, unique, budget=budget, work=work, scheduler=scheduler)
    row_of = {text: row for row, text in enumerate(unique)}
    vectors_ef = np.zeros((len(entities), encoder.dim), np.float32)
    missing = np.array([text is None for text, _ in prepared], dtype=bool)
    for row, (text, _) in enumerate(prepared):
        if text is not None:
            vectors_ef[row] = vectors_ud[row_of[text]]
    origin = sources or ["" if text is None else f"sha256:{text_key(text)}" for text, _ in prepared]
    identity = dict(encoder.identity)
    name = str(identity["id"]).split("/")[-1]
    return FeatureBank(
        vectors_ef=vectors_ef,
        entities=tuple(entities),
        kinds=(kind,) * len(entities),
        sources=tuple("" if gone else source for source, gone in zip(origin, missing, strict=True)),
        missing=missing,
        dims=tuple(f"{name}_{i}" for i in range(encoder.dim)),
        encoder={**identity, "dim": encoder.dim},
        notes=tuple(note for _, note in prepared),
    )


def encode_unique(
    encoder: SequenceEncoder,
    texts: Sequence[str],
    *,
    budget: int = BUDGET,
    work: str | Path | None = None,
    scheduler: str | None = None,
) -> np.ndarray:
    """Vectors of prepared, distinct texts in their order, `[n, dim]`. See `encode_bank`."""
    shards = [texts[start : start + SHARD] for start in range(0, len(texts), SHARD)]
    keys = hashlib.sha256("\n".join(map(text_key, texts)).encode()).hexdigest()
    plan = {"identity": encoder.identity, "dim": encoder.dim, "keys": keys, "shard": SHARD, "budget": budget}
    store = None if work is None else ShardStore(work, plan)
    out_nd = np.zeros((len(texts), encoder.dim), np.float32)
    todo = []
    for number, shard in enumerate(shards):
        done = None if store is None else store.get(number, (len(shard), encoder.dim))
        if done is None:
            todo.append(number)
        else:
            out_nd[number * SHARD : number * SHARD + len(shard)] = done
    run = _local if scheduler is None else _on_cluster(scheduler)
    jobs = ((number, shards[number]) for number in todo)
    for number, vectors_nd in _progress(run(encoder, jobs, budget), len(todo)):
        if store is not None:
            store.put(number, vectors_nd)
        out_nd[number * SHARD : number * SHARD + len(shards[number])] = vectors_nd
    return out_nd


def encode_shard(encoder: SequenceEncoder, texts: Sequence[str], budget: int) -> np.ndarray:
    """Vectors of one shard, batch by batch; the same on this machine and on a worker.

    Raises:
        InputError: If a vector has another width or is not finite.
    """
    out_nd = np.zeros((len(texts), encoder.dim), np.float32)
    for batch in length_batches([encoder.length(text) for text in texts], budget):
        vectors = encode_halving(encoder, [texts[i] for i in batch])
        if vectors.shape != (len(batch), encoder.dim):
            raise InputError(
                f"{encoder.identity['id']}: expected vectors of shape {(len(batch), encoder.dim)}, found {vectors.shape}."
            )
        bad = ~np.isfinite(vectors).all(axis=1)
        if bad.any():
            first = texts[batch[int(np.flatnonzero(bad)[0])]]
            raise InputError(
                f"{encoder.identity['id']}: {int(bad.sum())} of {len(batch)} vectors are not finite, the first of "
                f"{first[:40]!r}. Use --dtype float32, or check the weights."
            )
        out_nd[batch] = vectors
    return out_nd


Jobs = Iterable[tuple[int, Sequence[str]]]
Runner = Callable[[SequenceEncoder, Jobs, int], Iterable[tuple[int, np.ndarray]]]


def _local(encoder: SequenceEncoder, jobs: Jobs, budget: int) -> Iterable[tuple[int, np.ndarray]]:
    for number, texts in jobs:
        yield number, encode_shard(encoder, texts, budget)


def _on_cluster(address: str) -> Runner:
    """A runner that sends shards to the workers of a Dask scheduler; the encoder travels once per worker."""

    def run(encoder: SequenceEncoder, jobs: Jobs, budget: int) -> Iterable[tuple[int, np.ndarray]]:
        from vc_contracts.command import bring_back

        bring_back("dask")
        try:
            from distributed import Client, as_completed
        except ImportError as error:
            raise InputError("--scheduler needs dask: install `vc-featurize[cluster]`.") from error
        with Client(address) as client:
            remote = client.scatter(encoder, broadcast=True)
            futures = {client.submit(encode_shard, remote, list(t), budget, pure=False): n for n, t in jobs}
            for future in as_completed(list(futures)):
                yield futures[future], future.result()

    return run


def _progress(items: Iterable[tuple[int, np.ndarray]], n: int) -> Iterable[tuple[int, np.ndarray]]:
    """The items, with rate and time left on a terminal."""
    if n < 2:
        return items
    from vc_contracts.progress import progress

    return progress(items, total=n, desc="encoding", unit="shard", leave=True)
