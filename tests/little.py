"""A little dataset with fields, as an experiment takes it."""

import pandas as pd
import pyterrier as pt
import pytest

from pyterrier_lir.experiment.collection import open_collection

TEXTS = {
    "apple": ("Fruit", "an apple a day keeps the doctor away"),
    "bread": ("Baking", "fresh bread needs flour water salt and yeast"),
    "chess": ("Games", "in chess the queen is the strongest piece"),
    "dough": ("Baking", "let the bread dough rest for a day"),
    "earth": ("", "the earth turns around once a day"),
}


class Little(pt.datasets.Dataset):
    """As BEIR's are: documents with title and text, queries with several fields, some without judgements."""

    def get_corpus_iter(self, *, verbose=True):
        return ({"docno": docno, "title": t, "text": x, "url": "-"} for docno, (t, x) in TEXTS.items())

    def get_topics(self, variant=None):
        topics = pd.DataFrame({
            "qid": ["q1", "q2", "q3", "q4"],
            "text": ["bread dough", "queen of chess", "doctor", "nothing at all"],
            "url": "-",
        })  # fmt: skip
        return topics if variant is None else topics[["qid", variant]].rename(columns={variant: "query"})

    def get_qrels(self, variant=None):
        return pd.DataFrame(
            {"qid": ["q1", "q1", "q2", "q3"], "docno": ["bread", "dough", "chess", "apple"], "label": 1}
        )

    def text_loader(self, fields="*"):
        def load(frame):
            return frame.assign(**{f: [TEXTS[d][f == "text"] for d in frame["docno"]] for f in fields})

        return pt.apply.generic(load, transform_outputs=lambda columns: [*columns, *fields])


@pytest.fixture
def little():
    return open_collection("little", dataset=Little())
