"""Languages: the formats of multilingual checkpoints, on random tiny ones; scripts, wherever text is seen."""

import html
import json
import re

import numpy as np
import pandas as pd
import pyterrier as pt
import pytest

import pyterrier_lir as lir
from pyterrier_lir.agents import QueryRewrite, best_passage
from pyterrier_lir.experiment.analysis import any_tokens, ascii_tokens
from pyterrier_lir.explain import highlight

TEXTS = {
    "english": "The capital of Japan is Tokyo.",
    "japanese": "東京は日本の首都です。人口は多い。",
    "chinese": "北京是中国的首都，历史悠久。",
    "thai": "กรุงเทพเป็นเมืองหลวงของไทย",
    "arabic": "القاهرة هي عاصمة مصر، وهي مدينة كبيرة.",
    "hebrew": "ירושלים היא בירת ישראל.",
    "hindi": "दिल्ली भारत की राजधानी है।",
    "vietnamese": "Ha\u0300 No\u0323\u0302i la\u0300 thu\u0309 \u0111o\u0302.",  # letters and marks apart
    "emoji": "family 👩‍👩‍👧 flag 🇯🇵 thumbs 👍🏽 heart ❤️ end",
}
DIM, HIDDEN = 8, 32


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    """A unigram tokenizer as XLM-R's: one piece for nearly every character, bytes for those that it never met."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", "[QueryMarker]", "[DocumentMarker]"]
    letters = sorted({letter for text in TEXTS.values() for letter in text if not letter.isspace()} - set("👍🏽"))
    words = ["▁", "▁The", "▁capital", "▁family", "東京", "首都", ",", "、", "。", "，", "!"]
    pieces = list(dict.fromkeys([*special, *(f"<0x{i:02X}>" for i in range(256)), *words, *letters]))
    scores = [(piece, 0.0 if piece in special else -1.0 * len(piece.encode()) ** 0.5) for piece in pieces]
    backend = Tokenizer(models.Unigram(scores, unk_id=3, byte_fallback=True))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    names = {"bos": "<s>", "cls": "<s>", "pad": "<pad>", "eos": "</s>", "sep": "</s>", "unk": "<unk>", "mask": "<mask>"}
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, additional_special_tokens=special[5:],
        **{f"{name}_token": token for name, token in names.items()},
    )  # fmt: skip


def sizes(tokenizer):
    return {
        "vocab_size": len(tokenizer), "hidden_size": HIDDEN, "num_hidden_layers": 1, "num_attention_heads": 2,
        "intermediate_size": 64, "max_position_embeddings": 130, "pad_token_id": 1, "type_vocab_size": 1,
    }  # fmt: skip


@pytest.fixture(scope="module")
def stanford(tokenizer, tmp_path_factory):
    """jina-colbert-v2's format: Stanford's files on XLM-R, markers of its own, [MASK] attended, many dimensions."""
    import torch
    from safetensors.torch import save_file
    from transformers import XLMRobertaConfig, XLMRobertaModel

    folder = tmp_path_factory.mktemp("jina")
    torch.manual_seed(0)
    model = XLMRobertaModel(XLMRobertaConfig(**sizes(tokenizer)), add_pooling_layer=False)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text()) | {"architectures": ["HF_ColBERT"]}
    (folder / "config.json").write_text(json.dumps(config))
    tensors = {f"roberta.{name}": value for name, value in model.state_dict().items()}
    save_file({**tensors, "linear.weight": torch.randn(DIM, HIDDEN)}, folder / "model.safetensors", {"format": "pt"})
    settings = {"query_token_id": "[QueryMarker]", "doc_token_id": "[DocumentMarker]", "query_maxlen": 32}
    settings |= {"doc_maxlen": 120, "dim": DIM, "mask_punctuation": True, "attend_to_mask_tokens": True}
    (folder / "artifact.metadata").write_text(json.dumps(settings))
    return folder


@pytest.fixture(scope="module")
def xmod(tokenizer, tmp_path_factory):
    """ColBERT-XM's format: an XMOD with an adapter for each language, none of them chosen."""
    import torch
    from sentence_transformers import MultiVectorEncoder
    from sentence_transformers.base.modules import Dense, Normalize, Transformer
    from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask
    from transformers import XmodConfig, XmodModel

    bare, folder = tmp_path_factory.mktemp("bare"), tmp_path_factory.mktemp("xmod") / "model"
    torch.manual_seed(0)
    config = XmodConfig(**sizes(tokenizer), languages=["en_XX", "ja_XX"], default_language="en_XX")
    XmodModel(config, add_pooling_layer=False).save_pretrained(bare)
    tokenizer.save_pretrained(bare)
    dense = Dense(HIDDEN, DIM, bias=False, activation_function=None, module_input_name="token_embeddings")
    modules = [Transformer(str(bare)), dense, MultiVectorMask(), Normalize(module_input_name="token_embeddings")]
    MultiVectorEncoder(modules=modules, device="cpu").save_pretrained(str(folder))
    for path in folder.rglob("config.json"):
        config = json.loads(path.read_text())
        if "default_language" in config:
            path.write_text(json.dumps({**config, "default_language": None}))
    return folder


def load(folder, **options):
    return lir.LateInteractionEncoder(folder, dtype="float32", device="cpu", **options)


# --- formats ------------------------------------------------------------------------------------------------------


def test_markers_and_masks_of_jina_colbert(stanford):
    encoder = load(stanford)
    query = encoder.encode_queries(["東京"])[0]
    words = encoder.tokens(query.tok_ids)
    assert words[:2] == ["<s>", "[QueryMarker]"]
    assert words.count("<mask>") == 32 - len([word for word in words if word != "<mask>"])
    assert len(words) == 32
    document = encoder.encode_docs(["東京, 首都!"])[0]
    words = encoder.tokens(document.tok_ids)
    assert words[:2] == ["<s>", "[DocumentMarker]"] and words[-1] == "</s>"
    assert "," not in words and "!" not in words  # ASCII punctuation has no rows
    assert "東京" in words and "首都" in words


def test_matryoshka_dimensions_are_cut_and_normalised(stanford):
    encoder = load(stanford)
    topics = pd.DataFrame({"qid": ["1"], "query": ["東京"]})
    whole, cut = encoder(topics)["query_embs"][0], (encoder >> lir.Truncate(4))(topics)["query_embs"][0]
    np.testing.assert_allclose(cut, whole[:, :4] / np.linalg.norm(whole[:, :4], axis=1, keepdims=True), atol=1e-6)


def test_task_prefixes_are_prompts(stanford):
    encoder = load(stanford, prompts={"query": "[QueryMarker] The "})
    words = encoder.tokens(encoder.encode_queries(["東京"])[0].tok_ids)
    assert words[:3] == ["<s>", "[QueryMarker]", "▁The"]
    assert encoder.fingerprint != load(stanford).fingerprint


def test_each_language_has_its_adapter(xmod):
    text = [TEXTS["japanese"]]
    japanese, english = (load(xmod, language=name) for name in ("ja_XX", "en_XX"))
    a, b = japanese.encode_docs(text)[0], english.encode_docs(text)[0]
    assert a.tok_ids.tolist() == b.tok_ids.tolist()
    assert np.abs(a.embs - b.embs).max() > 1e-3
    assert japanese.fingerprint != english.fingerprint
    model = load(xmod, language="ja_XX", backend="torch").load()[0]
    backbone = next(module for module in model.modules() if type(module).__name__ == "XmodModel")
    assert backbone.config.default_language == "ja_XX"


def test_without_a_language_an_adapter_is_not_guessed(xmod):
    for wrong in (None, "xx_XX"):
        with pytest.raises(ValueError, match=rf"language={wrong!r}; expected one of the model's 2: en_XX, ja_XX"):
            load(xmod, language=wrong).encode_docs(["a"])


def test_a_language_of_a_model_without_adapters(stanford):
    with pytest.raises(ValueError, match="language='ja_XX', but the model has no adapters for languages"):
        load(stanford, language="ja_XX").load()


def test_languages_share_an_index_where_one_says_so(xmod, tmp_path):
    """Each document by the adapter of its language; that the spaces are one is what the model was trained for."""
    japanese, english = (load(xmod, language=name) for name in ("ja_XX", "en_XX"))
    nameless = pt.apply.doc_encoder(drop=True)
    index = lir.LirIndex(tmp_path / "i").indexer(keep_embs=True, verbose=False)
    with pytest.raises(ValueError, match="Encode all documents of an index with one encoder"):
        both = pd.concat([e(pd.DataFrame([{"docno": d, "text": TEXTS[d]}])) for e, d in
                          ((japanese, "japanese"), (english, "english"))])  # fmt: skip
        index.index(both.to_dict("records"))
    lir.LirIndex(tmp_path / "i").abandon()
    parts = [
        (japanese >> nameless)(pd.DataFrame([{"docno": "japanese", "text": TEXTS["japanese"]}])),
        (english >> nameless)(pd.DataFrame([{"docno": "english", "text": TEXTS["english"]}])),
    ]
    built = index.index(pd.concat(parts).to_dict("records"))
    found = (japanese.query_encoder() >> built.exhaustive()).search(TEXTS["japanese"])
    assert found["docno"].tolist()[0] == "japanese"


def test_a_tokenizer_of_japanese_words(tmp_path):
    """JaColBERT's: words by MeCab, then word pieces; in Python, so it does not say where its tokens stand."""
    pytest.importorskip("fugashi", reason="words of Japanese need MeCab: pip install fugashi unidic-lite")
    pytest.importorskip("unidic_lite", reason="words of Japanese need a dictionary: pip install fugashi unidic-lite")
    import torch
    from safetensors.torch import save_file
    from transformers import BertConfig, BertJapaneseTokenizer, BertModel

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[unused0]", "[unused1]", "東京", "は", "日本", "の", "首都"]
    words += ["です", "。", "人口", "多い"]
    (tmp_path / "vocab.txt").write_text("\n".join(words), "utf-8")
    tokenizer = BertJapaneseTokenizer(
        str(tmp_path / "vocab.txt"), word_tokenizer_type="mecab", mecab_kwargs={"mecab_dic": "unidic_lite"},
        additional_special_tokens=["[unused0]", "[unused1]"],
    )  # fmt: skip
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=HIDDEN, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64
    )
    model = BertModel(config)
    folder = tmp_path / "jacolbert"
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    settings = json.loads((folder / "config.json").read_text()) | {"architectures": ["HF_ColBERT"]}
    (folder / "config.json").write_text(json.dumps(settings))
    tensors = {f"bert.{name}": value for name, value in model.state_dict().items()}
    save_file({**tensors, "linear.weight": torch.randn(DIM, HIDDEN)}, folder / "model.safetensors", {"format": "pt"})
    metadata = {"query_token_id": "[unused0]", "doc_token_id": "[unused1]", "query_maxlen": 12, "doc_maxlen": 40}
    (folder / "artifact.metadata").write_text(json.dumps({**metadata, "dim": DIM, "mask_punctuation": True}))
    encoder = load(folder)
    row = encoder.encode_docs([TEXTS["japanese"]])[0]
    assert encoder.tokens(row.tok_ids)[:7] == ["[CLS]", "[unused1]", "東京", "は", "日本", "の", "首都"]
    with pytest.raises(ValueError, match="BertJapaneseTokenizer does not say where its tokens stand"):
        lir.LateChunking(encoder)(pd.DataFrame({"docno": ["d"], "text": [TEXTS["japanese"]]}))
    run = pd.DataFrame({"qid": ["1"], "query": ["東京"], "docno": ["d"], "text": [TEXTS["japanese"]]})
    explained = encoder.explain()(run).iloc[0]
    assert "東京" in highlight(explained)  # by its words, without their places


# --- scripts ------------------------------------------------------------------------------------------------------


def visible(page):
    return html.unescape(re.sub("<[^>]*>", "", page))


@pytest.mark.parametrize("name", TEXTS)
def test_rows_stand_for_characters_of_the_text(stanford, name):
    encoder, text = load(stanford), TEXTS[name]
    row = encoder.locate_docs([text])[0]
    plain = encoder.encode_docs([text])[0]
    np.testing.assert_array_equal(row.embs, plain.embs)
    inside = row.spans[row.spans[:, 0] >= 0]
    assert (inside[:, 0] <= inside[:, 1]).all() and inside.max() <= len(text)
    covered = {i for start, end in inside for i in range(start, end)}
    skipped = {i for i, letter in enumerate(text) if letter.isspace() or letter in ".,!"}
    assert covered == set(range(len(text))) - skipped
    for (start, end), word in zip(row.spans, encoder.tokens(row.tok_ids), strict=True):
        if start >= 0 and not word.startswith("<0x") and word != "▁":
            assert text[start:end] == word.removeprefix("▁")


@pytest.mark.parametrize("name", TEXTS)
def test_explanations_show_the_text_as_it_stands(stanford, name):
    encoder, text = load(stanford), TEXTS[name]
    run = pd.DataFrame({"qid": ["1"], "query": [text[:6]], "docno": ["d"], "text": [text]})
    row = encoder.explain()(run).iloc[0]
    page = highlight(row)
    assert visible(page) == text
    assert page.startswith('<p dir="auto">')
    for coloured in re.findall(r"<span[^>]*>([^<]*)</span>", page):
        import regex

        characters = regex.findall(r"\X", text)
        assert any("".join(characters[i : i + n]) == html.unescape(coloured) for n in range(1, 12)
                   for i in range(len(characters)))  # fmt: skip


def test_what_is_coloured_is_where_the_token_stands():
    toy = lir.ToyEncoder()
    text = "<b>bread & naïve</b> 東京 👩‍👩‍👧"
    row = toy.explain()(pd.DataFrame({"qid": ["1"], "query": ["東京"], "docno": ["d"], "text": [text]})).iloc[0]
    assert row["doc_text"] == text
    words = [text[start:end] for start, end in row["doc_spans"]]
    assert words == ["b", "bread", "naïve", "b", "東京"]
    page = highlight(row)
    assert re.findall(r"<span[^>]*>([^<]*)</span>", page) == ["東京"]
    assert visible(page) == text and "&lt;b&gt;" in page and "<b>" not in page


@pytest.mark.parametrize("name", TEXTS)
def test_pooling_pruning_and_indexes_take_any_script(stanford, name, tmp_path):
    encoder = load(stanford)
    index = lir.LirIndex(tmp_path / "i")
    corpus = [{"docno": docno, "text": text} for docno, text in TEXTS.items()]
    (encoder >> lir.TokenPooling(2) >> index.indexer(keep_embs=True, verbose=False)).index(corpus)
    run = pd.DataFrame({"qid": "1", "query": TEXTS[name], "docno": list(TEXTS), "text": list(TEXTS.values())})
    scores = (encoder.query_encoder() >> index.maxsim())(run).set_index("docno")["score"]
    exact = encoder.text_scorer()(run).set_index("docno")["score"]
    assert exact.idxmax() == name
    assert np.isfinite(scores).all() and scores[name] == pytest.approx(exact[name], rel=0.25)


def test_a_script_without_blanks_is_cut_into_passages(stanford):
    encoder = load(stanford)
    text = TEXTS["japanese"] * 20
    assert len(encoder.token_spans(text)) > encoder.capacity()
    out = lir.LateChunking(encoder, length=10)(pd.DataFrame({"docno": ["d"], "text": [text]}))
    assert "".join(out["text"]) == text
    snippet = best_passage(encoder, "首都", [text], size=12)[0]
    assert snippet.text in text and 0 < len(snippet.text) <= 12


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("東京都は", ["東京", "京都", "都は"]),
        ("京", ["京"]),
        ("コーヒー", ["コー", "ーヒ", "ヒー"]),
        ("ｺｰﾋｰ ABC", ["コー", "ーヒ", "ヒー", "abc"]),
        (
            "\u0e01\u0e33\u0e44\u0e23",
            ["\u0e01\u0e4d\u0e32", "\u0e32\u0e44", "\u0e44\u0e23"],
        ),  # sara am comes apart
        ("हिन्दी भाषा।", ["हिन्दी", "भाषा"]),
        ("مصر، كبيرة", ["مصر", "كبيرة"]),
        ("Ha\u0300 Nội-2", ["hà", "nội", "2"]),
        ("👩‍👩‍👧 🇯🇵👍🏽!", ["👩‍👩‍👧", "🇯🇵", "👍🏽"]),
        ("東京Tower2020年", ["東京", "tower2020", "年"]),
        ("...", []),
    ],
)
def test_words_of_any_script(text, expected):
    assert any_tokens(text) == expected
    assert len(ascii_tokens(text).split()) == len(any_tokens(text))
    assert ascii_tokens(text).isascii()


@pytest.mark.parametrize("engine", ["pisa", "bm25s"])
def test_a_sparse_first_stage_in_any_script(engine, tmp_path):
    pytest.importorskip({"pisa": "pyterrier_pisa", "bm25s": "bm25s"}[engine], reason="needs the extra [demo]")
    corpus = [{"docno": docno, "text": text} for docno, text in TEXTS.items()]
    first = lir.experiment.bm25(corpus, tmp_path / "i", engine=engine, analyser="any")
    asked = {"japanese": "日本の首都", "chinese": "北京", "thai": "เมืองหลวง", "arabic": "عاصمة", "hebrew": "בירת",
             "hindi": "दिल्ली", "vietnamese": "Hà Nội", "emoji": "👍🏽", "english": "TOKYO"}  # fmt: skip
    topics = pd.DataFrame({"qid": list(asked), "query": list(asked.values())})
    found = first(topics)
    assert found[found["rank"] == 0].set_index("qid")["docno"].to_dict() == {name: name for name in asked}
    assert set(found["query"]) == set(asked.values())
    again = lir.experiment.bm25([], tmp_path / "i")  # knows how it was made
    assert again.search("北京")["docno"].tolist()[0] == "chinese"
    assert len(again.search("...")) == 0
    with pytest.raises(ValueError, match=r"analyser is 'english', but the index at .* was made with 'any'"):
        lir.experiment.bm25([], tmp_path / "i", analyser="english")
    with pytest.raises(ValueError, match="analyser is 'klingon'; expected one of"):
        lir.experiment.bm25([], tmp_path / "j", analyser="klingon")


# --- translation --------------------------------------------------------------------------------------------------


def test_the_data_flows_of_translation():
    """ColBERT-X: translate the training documents, the queries, or the documents."""
    toy = lir.ToyEncoder()
    dictionary = {"bread": "pain", "dough": "pâte", "day": "jour"}

    def translate(text):
        return " ".join(dictionary.get(word, word) for word in text.split())

    topics = pd.DataFrame({"qid": ["1"], "query": ["bread dough"]})
    assert QueryRewrite(translate)(topics)["query"].tolist() == ["pain pâte"]
    documents = pd.DataFrame({"docno": ["d"], "text": ["bread day"]})
    translated = pt.apply.text(lambda row: translate(row["text"])) >> toy
    np.testing.assert_array_equal(translated(documents)["doc_embs"][0], toy.encode_docs(["pain jour"])[0].embs)
