"""The plot: every system has its name, and no name covers another."""

import pickle
from itertools import pairwise

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


def frame_of(names, times, values):
    return pd.DataFrame({"name": names, "retrieve_ms": times, "nDCG@10": values})


NUMBERS = np.random.RandomState(3).rand(4, 20)
SWEEP = [
    f"nprobe={p}, ndocs={d}, threshold={t}, measured" for p in (1, 2, 4, 8, 16) for d in (1, 2) for t in (0.4, 0.5)
]
CROWDS = {
    "eight short names": frame_of(
        [f"system:num={i}" for i in range(8)],
        [10.0, 11, 12, 13, 14, 15, 100, 900],
        [0.5, 0.501, 0.502, 0.503, 0.504, 0.505, 0.6, 0.4],
    ),
    "three long names": frame_of(
        [f"{i} " + 2 * "a long name of a system " for i in "abc"], [2, 2.6, 3.4], [0.4, 0.6, 0.5]
    ),
    "a grid": frame_of(
        [f"nprobe={i}, ndocs=512" for i in range(8)],
        [13.4, 17.4, 12.2, 10.5, 12.5, 15.7, 16.2, 14.3],
        [0.509, 0.527, 0.528, 0.513, 0.512, 0.518, 0.521, 0.519],
    ),
    "12 within a factor of two": frame_of(SWEEP[:12], 10 + 10 * NUMBERS[0, :12], 0.5 + 0.03 * NUMBERS[1, :12]),
    "20 on the front": frame_of(SWEEP, np.arange(1, 21) + NUMBERS[2], 0.5 - 0.1 / np.arange(1, 21) + 1e-4 * NUMBERS[3]),
    "six in one place": frame_of([f"the same system again, {i}" for i in range(6)], 3.0, 0.4),
}


@pytest.mark.parametrize("crowd", CROWDS.values(), ids=CROWDS)
def test_every_system_is_named_and_nothing_is_drawn_through_a_name(crowd):
    figure = lir.tradeoff_plot(crowd)
    figure.canvas.draw()  # places the names
    (axes,) = figure.axes
    assert axes.get_xscale() == "log" and axes.get_ylabel() == "nDCG@10"
    below = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    beside = [text.get_text().replace("\n", " ") for text in axes.texts]
    assert sorted(name for name in beside if not name.isdigit()) + sorted(below) == sorted(
        crowd["name"].str.strip(), key=lambda name: (name in below, name)
    )
    assert sorted(int(name) for name in beside if name.isdigit()) == list(range(1, len(below) + 1))
    boxes = [_extent(text, figure) for text in axes.texts]
    points = axes.transData.transform(crowd[["retrieve_ms", "nDCG@10"]].to_numpy(float))
    step = axes.transData.transform(np.column_stack(axes.lines[0].get_data()))
    lines = [_between(a, b) for a, b in _corners(step)] + [
        [p for p in _between(axes.transData.transform(t.xy), (box.min + box.max) / 2) if not box.contains(*p)]
        for t, box in zip(axes.texts, boxes, strict=True) if t.arrow_patch.get_visible()
    ]  # fmt: skip
    frame = axes.get_window_extent()
    for i, box in enumerate(boxes):
        assert frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1
        assert not any(box.overlaps(other) for other in boxes[:i])
        assert not any(box.contains(*p) for line in [points, *lines] for p in line)


def test_names_without_room_stand_below_by_number():
    figure = lir.tradeoff_plot(CROWDS["six in one place"].assign(name=[f"${i}$ in one place" for i in range(6)]))
    (legend,) = figure.legends
    assert len(legend.get_texts()) + sum(not t.get_text().isdigit() for t in figure.axes[0].texts) == 6
    assert not any(text.get_parse_math() for text in legend.get_texts())
    assert figure.get_size_inches()[1] > 4.4  # it grows for the list
    assert not lir.tradeoff_plot(FRAME).legends and lir.tradeoff_plot(FRAME).get_size_inches()[1] == 4.4


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
    crowd = lir.tradeoff_plot(CROWDS["six in one place"].assign(retrieve_ms=[np.nan, *[3.0] * 5]))
    assert crowd.legends[0].get_title().get_text() == "not shown, without retrieve_ms: the same system again, 0"
    assert crowd._supxlabel.get_text() == ""  # nothing is said twice


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


def _between(a, b):
    return np.linspace(a, b, 200)


def _corners(step):
    """The pieces of a step line: first across, then up."""
    for (x0, y0), (x1, y1) in pairwise(step):
        yield (x0, y0), (x1, y0)
        yield (x1, y0), (x1, y1)
