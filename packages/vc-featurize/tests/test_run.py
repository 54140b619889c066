"""Batches, resume and clusters: the path that all encoders share."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from vc_featurize.bank import read_features, write_features
from vc_featurize.errors import InputError
from vc_featurize.guide.kmer import KmerEncoder
from vc_featurize.protein.dipeptide import DipeptideEncoder
from vc_featurize.run import encode
from vc_featurize.run.batches import encode_halving, length_batches


class Counting(DipeptideEncoder):
    """Dipeptides that count the texts they encode and fail as told."""

    def __init__(self, most: int = 10**9, nan: bool = False) -> None:
        self.seen, self.most, self.nan = 0, most, nan

    def __call__(self, texts):
        if len(texts) > self.most:
            raise MemoryError
        self.seen += len(texts)
        out = super().__call__(texts)
        return out * np.nan if self.nan else out


@given(st.lists(st.integers(0, 400), max_size=80), st.integers(1, 2000))
def test_batches_hold_every_text_once_and_keep_the_budget(lengths, budget):
    batches = list(length_batches(lengths, budget))
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    for batch in batches:
        longest = max(max(lengths[i] for i in batch), 1)
        assert len(batch) == 1 or len(batch) * longest <= budget


def test_equal_texts_are_encoded_once_and_bad_ones_stay_as_missing_rows():
    encoder = Counting()
    bank = encode.encode_bank(
        encoder, ["a", "b", "c", "d", "e", "f"], ["MKV", "mkv ", "", "MK*V", None, "MKV*"], "protein"
    )
    assert encoder.seen == 1
    assert bank.missing.tolist() == [False, False, True, True, True, False]
    assert (bank.vectors_ef[0] == bank.vectors_ef[1]).all()
    assert not bank.vectors_ef[bank.missing].any()
    assert "stop" in bank.notes[3] and "empty" in bank.notes[2]


def test_a_repeated_name_is_refused():
    with pytest.raises(InputError, match="'x'"):
        encode.encode_bank(Counting(), ["x", "x"], ["MK", "ML"], "protein")


def test_out_of_memory_halves_the_batch_and_goes_on():
    texts = ["MKV" + "A" * i for i in range(20)]
    small, whole = Counting(most=3), Counting()
    assert np.array_equal(encode.encode_shard(small, texts, 10_000), encode.encode_shard(whole, texts, 10_000))
    with pytest.raises(InputError, match="alone does not fit"):
        encode_halving(Counting(most=0), ["MKV"])


def test_values_that_are_not_finite_are_refused():
    with pytest.raises(InputError, match="not finite"):
        encode.encode_bank(Counting(nan=True), ["a"], ["MKV"], "protein")


KILLED = """
import os, signal, sys
from vc_featurize.run import encode
from vc_featurize.protein.dipeptide import DipeptideEncoder
encode.SHARD = 8
class Dies(DipeptideEncoder):
    n = 0
    def __call__(self, texts):
        Dies.n += 1
        if Dies.n > 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(texts)
encode.encode_unique(Dies(), [l.strip() for l in open(sys.argv[1])], budget=40, work=sys.argv[2])
"""


def test_a_killed_run_goes_on_to_the_same_bytes(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    texts = sorted({"".join(rng.choice(list("MKVLA"), size=n)) for n in rng.integers(5, 12, 60)}, key=len, reverse=True)
    (tmp_path / "texts").write_text("\n".join(texts))
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "texts"), str(tmp_path / "work")], check=False)
    assert done.returncode == -signal.SIGKILL
    kept = len(list((tmp_path / "work").glob("*.sha256")))
    monkeypatch.setattr(encode, "SHARD", 8)
    encoder = Counting()
    resumed = encode.encode_unique(encoder, texts, budget=40, work=tmp_path / "work")
    assert encoder.seen <= len(texts) - 8 * kept
    assert resumed.tobytes() == encode.encode_unique(DipeptideEncoder(), texts, budget=40).tobytes()
    fpath = next((tmp_path / "work").glob("shard-*.npy"))
    fpath.write_bytes(fpath.read_bytes()[:-4] + os.urandom(4))
    repaired = encode.encode_unique(DipeptideEncoder(), texts, budget=40, work=tmp_path / "work")
    assert repaired.tobytes() == resumed.tobytes()


def test_a_folder_of_another_run_is_refused(tmp_path):
    encode.encode_unique(KmerEncoder(3), ["ACGT"], work=tmp_path)
    with pytest.raises(InputError, match="another encoder"):
        encode.encode_unique(KmerEncoder(4), ["ACGT"], work=tmp_path)


@pytest.mark.filterwarnings("ignore")
def test_two_workers_of_a_cluster_give_the_same_bytes(monkeypatch):
    distributed = pytest.importorskip("distributed")
    monkeypatch.setattr(encode, "SHARD", 4)
    texts = ["ACGT" * n for n in range(1, 12)][::-1]
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster:
        far = encode.encode_unique(KmerEncoder(3), texts, scheduler=cluster.scheduler_address)
    assert far.tobytes() == encode.encode_unique(KmerEncoder(3), texts).tobytes()


def test_kmers_are_counted_and_unknown_bases_left_out():
    encoder = KmerEncoder(k=2, places=3)
    vector = encoder(["ACNA"])[0]
    assert vector[:4].tolist() == [2, 1, 0, 0]
    assert vector[4 : 4 + 16].sum() == 1 and vector[4 + 1] == 1
    assert vector[20:].tolist() == [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0]
    assert encoder.prepare("acguu")[0] == "ACGTT"
    assert encoder.prepare("ACX")[0] is None and encoder.prepare("ANN")[0] is None and encoder.prepare("")[0] is None


def test_a_bank_opens_in_plain_anndata(tmp_path):
    import anndata

    bank = encode.encode_bank(KmerEncoder(2), ["g1", "g2"], ["ACGT", None], "guide")
    path = Path(write_features(tmp_path / "b.zarr", bank))
    assert anndata.read_zarr(path).X.tolist() == bank.vectors_ef.tolist()
    assert read_features(path).encoder["licence"] == "none needed"
