"""PDFs to pages and videos to frames, from real files; files that cannot be used are named."""

import hashlib
import io
import logging

import numpy as np
import pandas as pd
import pyterrier as pt
import pytest

import pyterrier_lir as lir
from pyterrier_lir.feedback import MeanWeighting
from pyterrier_lir.pages import PdfPage, PdfPages, VideoFrames, open_image
from pyterrier_lir.pages.images import PageError
from pyterrier_lir.pages.render import TextPage, draw_lines
from pyterrier_lir.pages.video import chosen
from pyterrier_lir.reduce import GridPooling

TOY = lir.ToyPageEncoder()


# --- PDF ----------------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True, scope="module")
def extras():
    pytest.importorskip("pypdfium2", reason="needs the extra [test]: pypdfium2 reads PDF files")
    pytest.importorskip("av", reason="needs the extra [test]: av reads videos")


def pdf(*texts):
    """A PDF with a drawn page for each text; at 72 dots to the inch it is as large as it was drawn."""
    pages = [TextPage(text).open().convert("RGB") for text in texts]
    data = io.BytesIO()
    pages[0].save(data, format="pdf", save_all=True, append_images=pages[1:], resolution=72, quality=95)
    return data.getvalue()


def encrypted(password):
    """A PDF of one empty page, encrypted as PDF 1.4 does it (revision 2 of the standard handler, RC4 with 40 bits)."""
    pad = bytes.fromhex("28BF4E5E4E758A4164004E56FFFA01082E2E00B6D0683E802F0CA9FE6453697A")
    owner, name = bytes(range(65, 97)), b"\x01" * 16
    digest = hashlib.md5((password.encode() + pad)[:32] + owner + (-4).to_bytes(4, "little", signed=True) + name)
    user = rc4(digest.digest()[:5], pad)
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>", b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 72 144]>>",
        b"<</Filter/Standard/V 1/R 2/P -4/O<" + owner.hex().encode() + b">/U<" + user.hex().encode() + b">>>",
    ]  # fmt: skip
    data, places = b"%PDF-1.4\n", []
    for number, content in enumerate(objects, 1):
        places.append(len(data))
        data += b"%d 0 obj %s endobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    trailer = b"<</Size 5/Root 1 0 R/Encrypt 4 0 R/ID[<%s><%s>]>>" % (name.hex().encode(), name.hex().encode())
    start = len(data)
    return (
        data + b"xref\n0 5\n0000000000 65535 f \n" + table + b"trailer " + trailer + b"\nstartxref\n%d\n%%%%EOF" % start
    )


def rc4(key, data):
    state, j = list(range(256)), 0
    for i in range(256):
        j = (j + state[i] + key[i % len(key)]) % 256
        state[i], state[j] = state[j], state[i]
    out, i, j = bytearray(), 0, 0
    for byte in data:
        i = (i + 1) % 256
        j = (j + state[i]) % 256
        state[i], state[j] = state[j], state[i]
        out.append(byte ^ state[(state[i] + state[j]) % 256])
    return bytes(out)


@pytest.fixture
def reports(tmp_path):
    (tmp_path / "fruit.pdf").write_bytes(pdf("we sell green pears", "we sell red apples"))
    return [
        {"docno": "fruit", "pdf": str(tmp_path / "fruit.pdf"), "year": 1999},
        {"docno": "bread", "pdf": pdf("flour and water", "yeast and salt", "bake the bread"), "year": 2001},
    ]


def test_every_page_is_a_document(reports):
    pages = PdfPages(dpi=72)(pd.DataFrame(reports))
    assert pages["docno"].tolist() == ["fruit%p1", "fruit%p2", "bread%p1", "bread%p2", "bread%p3"]
    assert pages["page"].tolist() == [1, 2, 1, 2, 3]
    assert pages["year"].tolist() == [1999, 1999, 2001, 2001, 2001]
    assert "pdf" not in pages.columns
    drawn = np.asarray(draw_lines(["we sell red apples"])).astype(int)
    found = np.asarray(open_image(pages["image"][1]).convert("L")).astype(int)
    assert found.shape == drawn.shape
    assert np.abs(found - drawn).mean() < 2


def test_dots_to_the_inch(reports):
    sizes = [PdfPages(dpi=dpi)(pd.DataFrame(reports))["image"][0].open().size for dpi in (72, 36)]
    assert sizes == [(512, 512), (256, 256)]


def test_pages_to_index_to_documents(reports, tmp_path):
    index = lir.LirIndex(tmp_path / "i")
    (PdfPages(dpi=72) >> TOY >> index.indexer(verbose=False)).index(iter(reports))
    assert index.docnos == ["fruit%p1", "fruit%p2", "bread%p1", "bread%p2", "bread%p3"]
    topics = pd.DataFrame({"qid": ["1", "2"], "query": ["red apples", "the bread"]})
    pages = (TOY >> index.exhaustive())(topics)
    assert pages.loc[pages["rank"] == 0, "docno"].tolist() == ["fruit%p2", "bread%p3"]
    documents = (TOY >> index.exhaustive() >> pt.text.max_passage())(topics)
    best = pages.assign(docno=pages["docno"].str.split("%p").str[0]).groupby(["qid", "docno"])["score"].max()
    assert documents.set_index(["qid", "docno"])["score"].to_dict() == best.to_dict()
    assert documents.sort_values(["qid", "rank"])["docno"].tolist() == ["fruit", "bread", "bread", "fruit"]


def test_passwords():
    locked = pd.DataFrame([{"docno": "secret", "pdf": encrypted("open")}])
    with pytest.raises(PageError, match=r"docno 'secret': the PDF of .* is encrypted and no password was given; .*Pdf"):
        PdfPages()(locked)
    with pytest.raises(PageError, match="encrypted with another password"):
        PdfPages(password="shut")(locked)
    page = PdfPages(password="open", dpi=72)(locked)["image"][0]
    assert page.open().size == (72, 144)
    assert "open" not in repr(page)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (b"%PDF-1.4 cut off", "the PDF of 16 bytes cannot be opened .*; expected an undamaged PDF file"),
        ("nowhere.pdf", "there is no file 'nowhere.pdf'; expected a PDF"),
        (7, "the PDF is 7, of the type int; expected a path or bytes"),
    ],
)
def test_bad_pdfs_are_named(value, message, reports, tmp_path, caplog):
    broken = [{"docno": "bad", "pdf": value}, *reports]
    with pytest.raises(PageError, match=f"docno 'bad': {message}"):
        PdfPages()(pd.DataFrame(broken))
    index = lir.LirIndex(tmp_path / "i")
    with caplog.at_level(logging.WARNING, "pyterrier_lir"):
        (PdfPages(on_error="skip") >> TOY >> index.indexer(verbose=False)).index(iter(broken))
    assert len(index.docnos) == 5
    assert "left out: docno 'bad'" in caplog.text


def test_a_page_that_is_not_there(reports):
    with pytest.raises(PageError, match="docno 'd': the PDF has 2 pages; expected a page 9"):
        open_image(PdfPage(reports[0]["pdf"], 9), docno="d")


def test_a_page_too_large_is_refused(reports):
    with pytest.raises(PageError, match="512 x 512 pixels; expected at most 1,000"):
        lir.ToyPageEncoder(max_pixels=1000)(PdfPages(dpi=72)(pd.DataFrame(reports[:1])))
    with pytest.raises(
        PageError, match=r"page 1 of the PDF has 17067 x 17067 pixels at 2400 dpi; .*Give a smaller dpi"
    ):
        TOY(PdfPages(dpi=2400)(pd.DataFrame(reports[:1])))


def test_arguments_of_pdf_pages(reports):
    for options, message in (({"dpi": 0}, "dpi is 0"), ({"on_error": "go on"}, "on_error is 'go on'")):
        with pytest.raises(ValueError, match=message):
            PdfPages(**options)
    renamed = pd.DataFrame(reports).rename(columns={"pdf": "file"})
    assert len(PdfPages(pdf_field="file")(renamed)) == 5


# --- video --------------------------------------------------------------------------------------------------------


def film(path, texts, frames_each=5, rate=10, size=(512, 512)):
    """A video that shows each text for some frames, without loss."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=rate)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv444p"
        for text in texts:
            picture = TextPage(text).open().convert("RGB").resize(size)
            for _ in range(frames_each):
                frame = av.VideoFrame.from_image(picture)
                for packet in stream.encode(frame):
                    container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return str(path)


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    folder = tmp_path_factory.mktemp("films")
    return [
        {
            "docno": "garden",
            "video": film(folder / "garden.mkv", ["green grass here", "red roses here", "blue sky here"]),
        },
        {"docno": "kitchen", "video": film(folder / "kitchen.mkv", ["white flour here", "fresh bread here"])},
    ]


def test_frames_in_the_middle_of_equal_parts(films):
    assert sorted(chosen(15, 3)) == [2, 7, 12]
    assert sorted(chosen(2, 5)) == [0, 1]
    assert sorted(chosen(1, 1)) == [0]
    row = VideoFrames(num_frames=3, size=512)(pd.DataFrame(films)).iloc[0]
    assert row["frame_times"] == pytest.approx([0.2, 0.7, 1.2])
    for frame, text in zip(row["frames"], ["green grass here", "red roses here", "blue sky here"], strict=True):
        assert frame.shape == (512, 512, 3)
        assert np.abs(frame[..., 0].astype(int) - np.asarray(TextPage(text).open())).mean() < 2


def test_size_and_number_of_frames(films):
    rows = VideoFrames(num_frames=99, size=64)(pd.DataFrame(films))
    assert [len(frames) for frames in rows["frames"]] == [15, 10]
    assert rows["frames"][0][0].shape == (64, 64, 3)


def test_two_levels_added(films, tmp_path):
    """Video-ColBERT's score: the mean over query rows of the best frame, and of the best token."""
    steps = VideoFrames(num_frames=3, size=512) >> TOY.video_encoder()
    encoded = steps(pd.DataFrame(films))
    assert encoded["doc_grid"].map(list).tolist() == [[3, 1024], [3, 1024]]
    tokens, frames = lir.LirIndex(tmp_path / "tokens"), lir.LirIndex(tmp_path / "frames")
    (steps >> tokens.indexer(keep_embs=True, verbose=False)).index(iter(films))
    (steps >> GridPooling("rows") >> frames.indexer(keep_embs=True, verbose=False)).index(iter(films))
    query = TOY.query_encoder() >> MeanWeighting()
    both = query >> frames.exhaustive() >> (frames.maxsim() + tokens.maxsim())
    found = both.search("red roses")
    embs = TOY.encode_queries(["red roses"])[0].embs
    for row in found.itertuples():
        doc = encoded.set_index("docno").loc[row.docno, "doc_embs"]
        means = doc.reshape(3, 1024, 128).mean(axis=1)
        means /= np.linalg.norm(means, axis=1, keepdims=True)
        expected = (embs @ means.T).max(axis=1).mean() + (embs @ doc.T).max(axis=1).mean()
        assert row.score == pytest.approx(expected, abs=2e-3)
    assert found.sort_values("rank")["docno"].tolist() == ["garden", "kitchen"]


def test_a_frame_is_a_page(films):
    encoded = (VideoFrames(num_frames=1, size=512) >> TOY.video_encoder())(pd.DataFrame(films[:1])).iloc[0]
    page = TOY.encode_docs([VideoFrames(num_frames=1, size=512)(pd.DataFrame(films))["frames"][0][0]])[0]
    np.testing.assert_array_equal(encoded["doc_embs"], page.embs)
    assert encoded["doc_tok_ids"].tolist() == page.tok_ids.tolist()
    assert encoded["doc_encoder"] == TOY.fingerprint


def test_bad_videos_are_named(films, tmp_path, caplog):
    (tmp_path / "text.mp4").write_text("no video")
    broken = [{"docno": "bad", "video": str(tmp_path / "text.mp4")}, *films]
    with pytest.raises(PageError, match=r"docno 'bad': the video .*text\.mp4.* cannot be read .*FFmpeg decodes"):
        VideoFrames()(pd.DataFrame(broken))
    with pytest.raises(PageError, match=r"docno 'none': there is no file 'nowhere\.mp4'"):
        VideoFrames()(pd.DataFrame([{"docno": "none", "video": "nowhere.mp4"}]))
    with caplog.at_level(logging.WARNING, "pyterrier_lir"):
        assert VideoFrames(on_error="skip")(pd.DataFrame(broken))["docno"].tolist() == ["garden", "kitchen"]
    assert "left out: docno 'bad'" in caplog.text


def test_bad_frames_are_named(caplog):
    black = np.zeros((8, 8, 3), np.uint8)
    rows = pd.DataFrame({"docno": ["good", "bad", "none"], "frames": [[black], [black, b"no picture"], []]})
    with pytest.raises(PageError, match=r"docno 'bad \(frame 1\)': the image of 10 bytes"):
        TOY.video_encoder()(rows)
    with pytest.raises(PageError, match="docno 'none': the video has no frames"):
        TOY.video_encoder()(rows[2:])
    skipping = lir.ToyPageEncoder(on_error="skip").video_encoder()
    assert skipping(rows)["docno"].tolist() == ["good"]
    assert [record["docno"] for record in skipping.transform_iter(rows.to_dict("records"))] == ["good"]


def test_arguments_of_video_frames(films):
    for options in ({"num_frames": 0}, {"size": 0}, {"on_error": "go on"}):
        with pytest.raises(ValueError, match=f"{next(iter(options))} is"):
            VideoFrames(**options)
    renamed = pd.DataFrame(films).rename(columns={"video": "file"})
    assert len(VideoFrames(video_field="file")(renamed)) == 2


@pytest.mark.parametrize("package", ["pypdfium2", "av"])
def test_a_missing_package_is_named(package, monkeypatch, films, reports):
    monkeypatch.setitem(__import__("sys").modules, package, None)
    stage, rows = (PdfPages(), reports) if package == "pypdfium2" else (VideoFrames(), films)
    with pytest.raises(ImportError, match=f"Run: pip install '?{package}"):
        stage(pd.DataFrame(rows))
