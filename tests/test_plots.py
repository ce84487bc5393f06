"""The plot: every system has its name, and no name covers another."""

import pickle

import numpy as np
import pandas as pd
import pytest
from ir_measures import AP

import pyterrier_lir as lir
from pyterrier_lir.experiment import plots

FRAME = pd.DataFrame({
    "name": ["a", "b", "c", "d", "e"],
    "retrieve_ms": [1.0, 2.0, 2.0, 50.0, 100.0],
    "nDCG@10": [0.3, 0.5, 0.4, 0.5, 0.6],
})  # fmt: skip


def test_pareto_front():
    assert plots.pareto_front(FRAME).tolist() == [True, True, False, False, True]
    twins = pd.DataFrame({"retrieve_ms": [1.0, 1.0], "nDCG@10": [0.5, 0.5]})
    assert plots.pareto_front(twins).tolist() == [True, True]
    assert plots.pareto_front(FRAME.assign(**{"nDCG@10": np.nan})).tolist() == [False] * 5
    assert plots.pareto_front(FRAME.astype({"nDCG@10": str})).tolist() == [True, True, False, False, True]
    for of_text in ("str", object):
        with pytest.raises(
            ValueError, match=r"'name' is no numbers but (str|object), such as '.+'; expected numbers.*Name"
        ):
            plots.pareto_front(FRAME.astype({"name": of_text}), y="name")


def test_the_plot_shows_every_system_without_overlap(tmp_path):
    crowd = pd.DataFrame({
        "name": [f"system:num={i}" for i in range(8)],
        "retrieve_ms": [10.0, 11, 12, 13, 14, 15, 100, 900],
        "nDCG@10": [0.5, 0.501, 0.502, 0.503, 0.504, 0.505, 0.6, 0.4],
    })  # fmt: skip
    figure = lir.tradeoff_plot(crowd)
    figure.savefig(tmp_path / "plot.png")
    (axes,) = figure.axes
    assert axes.get_xscale() == "log" and axes.get_ylabel() == "nDCG@10"
    texts = [text for text in axes.texts if text.get_text()]
    assert sorted(text.get_text() for text in texts) == sorted(crowd["name"])
    boxes = [_extent(text, figure) for text in texts]
    overlaps = [(a, b) for i, a in enumerate(boxes) for b in boxes[:i] if a.overlaps(b)]
    assert not overlaps
    frame = axes.get_window_extent()
    assert all(frame.x0 <= box.x0 and box.x1 <= frame.x1 for box in boxes)


def test_long_names_are_broken_and_stay_in_the_frame():
    long = "BM25 (k1=0.9, b=0.4) >> query encoder >> maxsim, $100 and $200"
    figure = lir.tradeoff_plot(FRAME.assign(name=[long + name for name in "abcde"]))
    figure.canvas.draw()  # places the names
    (axes,), frame = figure.axes, figure.axes[0].get_window_extent()
    for text in axes.texts:
        box = _extent(text, figure)
        assert "\n" in text.get_text() and frame.x0 <= box.x0 and box.x1 <= frame.x1 and not text.get_parse_math()


def test_of_many_points_the_front_is_named():
    many = pd.DataFrame({"name": [f"p{i}" for i in range(13)], "ms": range(1, 14), "AP": [0.1, 0.3, 0.2] + [0.25] * 10})
    assert [text.get_text() for text in lir.tradeoff_plot(many, x="ms", y=AP).axes[0].texts] == ["p1", "p0"]
    assert len(lir.tradeoff_plot(many[:12], x="ms", y="AP").axes[0].texts) == 12


def test_systems_without_a_value_are_named_below():
    figure = lir.tradeoff_plot(FRAME.assign(retrieve_ms=[np.nan, 2.0, 2.0, 50.0, 100.0]))
    assert sorted(text.get_text() for text in figure.axes[0].texts) == ["b", "c", "d", "e"]
    assert figure._supxlabel.get_text() == "not shown, without retrieve_ms: a"
    assert lir.tradeoff_plot(FRAME)._supxlabel is None


def test_names_and_their_lines_cross_no_other_name():
    grid = pd.DataFrame({
        "name": [f"nprobe={i}, ndocs=512" for i in range(8)],
        "ms": [13.4, 17.4, 12.2, 10.5, 12.5, 15.7, 16.2, 14.3],
        "AP": [0.509, 0.527, 0.528, 0.513, 0.512, 0.518, 0.521, 0.519],
    })  # fmt: skip
    figure = lir.tradeoff_plot(grid, x="ms", y="AP")
    figure.canvas.draw()
    boxes = [_extent(text, figure) for text in figure.axes[0].texts]
    lines = [text.arrow_patch.get_visible() for text in figure.axes[0].texts]
    assert any(lines)
    for i, text in enumerate(figure.axes[0].texts):
        point = figure.axes[0].transData.transform(text.xy)
        middle = (boxes[i].min + boxes[i].max) / 2
        for j, box in enumerate(boxes):
            assert i == j or not box.overlaps(boxes[i])
            assert i == j or not lines[i] or not any(box.contains(*p) for p in np.linspace(point, middle, 200))


def test_plots_can_be_kept():
    figure = pickle.loads(pickle.dumps(lir.tradeoff_plot(FRAME)))
    assert figure._repr_png_()[0].startswith(b"\x89PNG") and len(figure.axes[0].texts) == 5


def test_the_front_of_columns_that_are_not_there():
    renamed = FRAME.rename(columns={"nDCG@10": "AP"})
    assert plots.pareto_front(renamed, y=AP).tolist() == [True, True, False, False, True]
    with pytest.raises(ValueError, match=r"no column 'ms', only .*pareto_front\(results, x="):
        plots.pareto_front(FRAME, "ms")


def test_the_plot_leaves_pyplot_alone():
    import matplotlib.pyplot

    lir.tradeoff_plot(FRAME)
    assert matplotlib.pyplot.get_fignums() == []


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (FRAME.drop(columns="nDCG@10"), "nDCG@10"),
        (FRAME[:0], "no rows"),
        (FRAME.assign(retrieve_ms=[1, 2, 0, 4, 5]), "retrieve_ms of 'c' is 0; expected a positive number"),
        (FRAME.assign(retrieve_ms=np.inf), "retrieve_ms of 'a' is inf"),
        (FRAME.assign(**{"nDCG@10": [0.1, np.inf, 0.1, 0.1, 0.1]}), "nDCG@10 of 'b' is inf; expected a finite number"),
        (FRAME.assign(retrieve_ms="fast"), "retrieve_ms of 'a' is 'fast'"),
        (FRAME.assign(retrieve_ms=np.nan), "no system has both"),
    ],
)
def test_what_cannot_be_plotted(frame, words):
    with pytest.raises(ValueError, match=words):
        plots.tradeoff_plot(frame)


def _extent(text, figure):
    from matplotlib.text import Text

    return Text.get_window_extent(text, figure.canvas.get_renderer())
