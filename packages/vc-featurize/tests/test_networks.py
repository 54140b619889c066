"""Networks: real weights where they are at hand, tiny checkpoints through the real loading code, and what is refused."""

import json
from importlib import import_module
from importlib.machinery import SourceFileLoader
from importlib.util import find_spec
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from vc_featurize.compound.networks import chemmrl_encoder
from vc_featurize.errors import InputError
from vc_featurize.guide.nucleotide import nt2_encoder, nt3_encoder
from vc_featurize.network.rules import Weights, weights_hash
from vc_featurize.network.transformer import TransformerEncoder
from vc_featurize.protein.esm import esm2_encoder, esmc_encoder
from vc_featurize.protein.unirep import UniRepEncoder


class Later:
    """A module that is imported when it is first used: every test process reads this file, and one of them runs it."""

    def __init__(self, name):
        self._name = name

    def __getattr__(self, attribute):
        return getattr(import_module(self._name), attribute)


torch, transformers = Later("torch"), Later("transformers")

SHARED = Path(__file__).resolve().parents[4] / "shared" / "data"
ALBERT = SHARED / "models" / "rxn-albert"
ASPIRIN = "CC(=O)Oc1ccccc1C(=O)O"
pytestmark = [
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(
        not (find_spec("torch") and find_spec("transformers")), reason="the extra `torch` is not installed"
    ),
]
needs_shared = pytest.mark.skipif(not ALBERT.is_dir(), reason="the shared data are not here")


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def esm2(tmp_path_factory):
    folder = tmp_path_factory.mktemp("esm2")
    letters = ["<cls>", "<pad>", "<eos>", "<unk>", *"LAGVSERTIDPKQNFYMHWCXBUZO", ".", "-", "<null_1>", "<mask>"]
    (folder / "vocab.txt").write_text("\n".join(letters))
    torch.manual_seed(0)
    config = transformers.EsmConfig(
        vocab_size=33,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        position_embedding_type="rotary",
        token_dropout=True,
        mask_token_id=32,
        pad_token_id=1,
    )
    transformers.EsmModel(config, add_pooling_layer=False).save_pretrained(folder)
    transformers.EsmTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def esmc(tmp_path_factory):
    folder = tmp_path_factory.mktemp("esmc")
    torch.manual_seed(0)
    config = transformers.EsmcConfig(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4)
    transformers.EsmcModel(config).save_pretrained(folder)
    transformers.EsmcTokenizer().save_pretrained(folder)
    return folder


@needs_shared
def test_masked_tokens_of_aspirin_are_found_by_the_real_weights():
    tokenizer = transformers.AutoTokenizer.from_pretrained(ALBERT)
    model = transformers.AutoModelForMaskedLM.from_pretrained(ALBERT).eval()
    ids = tokenizer(ASPIRIN, return_tensors="pt")["input_ids"]
    masked = ids.repeat(ids.shape[1] - 2, 1)
    place = torch.arange(1, ids.shape[1] - 1)
    masked[torch.arange(len(masked)), place] = tokenizer.mask_token_id
    with torch.inference_mode():
        found = model(masked).logits[torch.arange(len(masked)), place].argmax(dim=-1)
    assert len(place) == 21 and int((found == ids[0, 1:-1]).sum()) >= 19


@needs_shared
def test_a_padded_batch_equals_one_by_one():
    encoder = TransformerEncoder(Weights(path=str(ALBERT)), device="cpu")
    texts = ["CCO", ASPIRIN, "c1ccccc1", "CN1C=NC2=C1C(=O)N(C(=O)N2C)C"]
    alone = np.concatenate([encoder([text]) for text in texts])
    assert np.abs(encoder(texts) - alone).max() < 1e-5


def test_esm2_pools_residues_alone_and_windows_long_sequences(esm2):
    encoder = esm2_encoder(Weights(path=str(esm2)), device="cpu")
    sequence = "MKVLAG"
    tokens = encoder._tokenizer(sequence, return_tensors="pt")
    with torch.inference_mode():
        hidden = encoder._model(**tokens).last_hidden_state[0, 1:-1].mean(dim=0).numpy()
    assert np.allclose(encoder([sequence])[0], hidden, atol=1e-6)
    assert np.allclose(encoder([sequence, "M" * 1500])[0], hidden, atol=1e-5)


def test_esmc_loads_and_is_free_of_padding(esmc):
    encoder = esmc_encoder(Weights(path=str(esmc)), device="cpu")
    texts = ["MKV", "MKVLAGMKVLAG"]
    assert np.allclose(encoder(texts)[0], encoder(texts[:1])[0], atol=1e-5)


def test_another_architecture_and_a_changed_revision_are_refused(esm2):
    with pytest.raises(InputError, match="model_type"):
        esmc_encoder(Weights(path=str(esm2)))
    with pytest.raises(InputError, match="were changed"):
        esm2_encoder(Weights(path=str(esm2), revision="0" * 64))
    esm2_encoder(Weights(path=str(esm2), revision=weights_hash(esm2)))


def test_pickled_weights_an_unpinned_id_and_absent_weights_are_refused(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(InputError, match="can run code"):
        TransformerEncoder(Weights(path=str(tmp_path)))
    with pytest.raises(InputError, match="40 hex"):
        TransformerEncoder(Weights(path="someone/model", revision="main"))
    with pytest.raises(InputError, match="--online"):
        TransformerEncoder(Weights(path="someone/model", revision="a" * 40))


def test_code_of_a_checkpoint_runs_only_where_exactly_it_was_allowed(esm2, tmp_path):
    for fpath in esm2.iterdir():
        (tmp_path / fpath.name).write_bytes(fpath.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    config |= {"auto_map": {"AutoConfig": "own.OwnConfig", "AutoModel": "own.OwnModel"}, "model_type": "own"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "own.py").write_text(
        "from transformers import EsmConfig, EsmModel\n"
        "class OwnConfig(EsmConfig):\n    model_type = 'own'\n"
        "class OwnModel(EsmModel):\n    config_class = OwnConfig\n"
    )
    with pytest.raises(InputError, match="Python code of its own"):
        TransformerEncoder(Weights(path=str(tmp_path)))
    with pytest.raises(InputError, match="Python code of its own"):
        TransformerEncoder(Weights(path=str(tmp_path), code="a" * 64))
    with pytest.raises(InputError, match="multiple of 32"):
        nt3_encoder(Weights(path=str(tmp_path)), length=100)


STUB = """
import torch
from transformers import PretrainedConfig, PreTrainedModel

class StubConfig(PretrainedConfig):
    model_type = "stub"
    def __init__(self, hidden_size=16, vocab_size=11, kernel=15, **more):
        self.hidden_size, self.vocab_size, self.kernel = hidden_size, vocab_size, kernel
        super().__init__(**more)

class StubModel(PreTrainedModel):
    config_class = StubConfig
    def __init__(self, config):
        super().__init__(config)
        self.embed = torch.nn.Embedding(config.vocab_size, config.hidden_size)
        self.mix = torch.nn.Conv1d(config.hidden_size, config.hidden_size, config.kernel, padding="same")
        self.post_init()
    def forward(self, input_ids, attention_mask=None):
        from transformers.modeling_outputs import BaseModelOutput
        states = self.embed(input_ids)
        return BaseModelOutput(states + self.mix(states.transpose(1, 2)).transpose(1, 2))
"""


def own_code(folder, tokenizer, **config):
    """A tiny checkpoint whose network is code of its own that reads neighbours and ignores the mask, as NT v3's does."""
    (folder / "stub.py").write_text(STUB)
    module = SourceFileLoader("stub", str(folder / "stub.py")).load_module()
    torch.manual_seed(0)
    module.StubModel(module.StubConfig(**config)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    written = json.loads((folder / "config.json").read_text())
    written["auto_map"] = {"AutoConfig": "stub.StubConfig", "AutoModel": "stub.StubModel"}
    (folder / "config.json").write_text(json.dumps(written))
    return Weights(path=str(folder), code=weights_hash(folder))


def words(letters):
    """A tokenizer of one token a word of `letters`, longest first, as a SMILES or a base has."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers

    vocab = {token: at for at, token in enumerate(["<pad>", "<unk>", *letters])}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("Cl|Br|."), "isolated")
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>")


def test_nt3_pads_with_n_to_one_length_and_averages_the_guides_own_bases(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    folder = tmp_path / "nt3"
    folder.mkdir()
    weights = own_code(folder, words("ACGTN"))
    with pytest.raises(InputError, match="Python code of its own"):
        nt3_encoder(Weights(path=str(folder)))
    encoder = nt3_encoder(weights, device="cpu")
    guide, other = "GATTACAGATTACAGATTAC", "ACGT" * 10
    alone = encoder([guide])[0]
    assert np.allclose(encoder([other, guide])[1], alone, atol=1e-6)  # never padded to the longest of a batch
    ids = encoder._tokenizer(guide.ljust(128, "N"), return_tensors="pt", add_special_tokens=False)["input_ids"]
    assert ids.shape == (1, 128)
    with torch.inference_mode():
        states = encoder._model(ids).last_hidden_state[0, :20]
    assert np.allclose(alone, states.mean(dim=0).numpy(), atol=1e-6)
    assert "to 128" in encoder.identity["padding"]
    assert encoder.prepare("A" * 129)[0] is None and "fixed length" in encoder.prepare("A" * 129)[1]
    assert encoder.prepare("gattacagattacagattac")[0] == guide


def test_nt2_reads_words_of_six_bases_and_masks_its_padding(tmp_path):
    bases = "ACGT"
    letters = ["<unk>", "<pad>", "<mask>", "<cls>", *("".join(word) for word in product(bases, repeat=6)), *bases, "N"]
    (tmp_path / "vocab.txt").write_text("\n".join(letters))
    tokenizer = transformers.EsmTokenizer(str(tmp_path / "vocab.txt"), eos_token=None)
    torch.manual_seed(0)
    config = transformers.EsmConfig(
        vocab_size=len(letters), hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
        position_embedding_type="rotary", mask_token_id=2, pad_token_id=1,
    )  # fmt: skip
    transformers.EsmModel(config, add_pooling_layer=False).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    encoder = nt2_encoder(Weights(path=str(tmp_path)), device="cpu")
    guide = "GATTACAGATTACAGATTAC"
    text = encoder._tokenizer.tokenize(guide)
    assert text == ["GATTAC", "AGATTA", "CAGATT", "A", "C"]
    alone = encoder([guide])[0]
    assert np.allclose(encoder([guide, "ACGT" * 40])[0], alone, atol=1e-5)
    assert not np.allclose(encoder(["C" + guide[:-1]])[0], alone, atol=1e-3)
    assert "not for commercial use" in encoder.identity["licence"]


def test_chemmrl_keeps_the_first_dimensions_and_scales_them(tmp_path):
    pytest.importorskip("rdkit", reason="the extra `chem` is not installed")
    torch.manual_seed(0)
    config = transformers.ModernBertConfig(
        vocab_size=40, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64, pad_token_id=0,
        bos_token_id=1, eos_token_id=1, cls_token_id=1, sep_token_id=1, reference_compile=False,
    )  # fmt: skip
    transformers.ModernBertModel(config).save_pretrained(tmp_path)
    words(["Cl", "Br", *"CNOSPFIcnos()[]=#@+-123456789"]).save_pretrained(tmp_path)
    whole, part = (chemmrl_encoder(Weights(path=str(tmp_path)), dim=dim, device="cpu") for dim in (None, 8))
    texts = [ASPIRIN, "CCO", "c1ccccc1Cl"]
    cleaned = [whole.prepare(text)[0] for text in texts]
    full, first = whole(cleaned), part(cleaned)
    assert full.shape == (3, 32) and first.shape == (3, 8)
    np.testing.assert_allclose(np.linalg.norm(first, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(first, full[:, :8] / np.linalg.norm(full[:, :8], axis=1, keepdims=True), atol=1e-5)
    assert np.allclose(whole(cleaned[1:2])[0], full[1], atol=1e-5)
    assert whole.prepare("OCC")[0] == whole.prepare("CCO")[0]
    with pytest.raises(InputError, match="dim"):
        chemmrl_encoder(Weights(path=str(tmp_path)), dim=64)


def test_values_that_are_not_finite_in_half_precision_are_computed_again(esm2, monkeypatch):
    encoder = esm2_encoder(Weights(path=str(esm2)), dtype="bfloat16", device="cpu")
    forward = encoder._forward
    monkeypatch.setattr(
        encoder, "_forward", lambda texts, dtype: forward(texts, dtype) * (1 if dtype == "float32" else np.nan)
    )
    assert np.isfinite(encoder(["MKV"])).all()
    assert encoder.fallbacks == 1 and "float32" in encoder.identity["note"]


@needs_shared
def test_unirep_puts_proteins_of_a_family_nearer_than_others():
    import gzip

    weights = SHARED / "models" / "unirep-64" / "model_weights.npz"
    sequences, name = {}, ""
    with gzip.open(SHARED / "side" / "proteins" / "human_proteins_subset.fasta.gz", "rt") as fd:
        for line in fd:
            if line.startswith(">"):
                name = line[1:].split()[0].split("|")[0]
                sequences[name] = ""
            else:
                sequences[name] += line.strip()
    picked = [(f, n) for f in ("CYP", "KRT", "SLC", "PSM", "RAB", "HOX") for n in sorted(sequences) if n.startswith(f)]
    picked = [(f, n) for f, n in picked if len(sequences[n]) < 600]
    by_family = {f: [n for g, n in picked if g == f][:8] for f, _ in picked if f != "SLC"}
    names = [n for members in by_family.values() for n in members]
    family = np.array([f for f, members in by_family.items() for _ in members])
    vectors = UniRepEncoder(weights)([sequences[n] for n in names])
    vectors = (vectors - vectors.mean(axis=0)) / vectors.std(axis=0)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    upper = np.triu_indices(len(names), 1)
    same, near = (family[:, None] == family)[upper], (vectors @ vectors.T)[upper]
    auc = (near[same][:, None] > near[~same][None]).mean()
    assert auc >= 0.9


def test_unirep_of_another_file_is_refused(tmp_path):
    np.savez(tmp_path / "w.npz", embedding=np.zeros((26, 10)))
    with pytest.raises(InputError, match="mlstm"):
        UniRepEncoder(tmp_path / "w.npz")
