"""Nothing that an index holds is run."""

import ast
import pickle
from pathlib import Path

from uses import uses

import pyterrier_lir as lir

PACKAGE = Path(lir.__file__).parent

FORBIDDEN = {"pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve", "joblib"}


def test_no_module_can_run_what_it_reads():
    sources = sorted(PACKAGE.rglob("*.py"))
    assert len(sources) > 60
    for source in sources:
        for node in ast.walk(ast.parse(source.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            assert not {name.split(".")[0] for name in names} & FORBIDDEN, source
            if isinstance(node, ast.Call):
                called, options = ast.unparse(node.func), {o.arg: ast.unparse(o.value) for o in node.keywords}
                assert called not in ("eval", "exec", "compile", "__import__"), source
                assert not called.endswith(("read_pickle", "pickle.load", "pickle.loads")), source
                assert options.get("allow_pickle", "False") == "False", source
                assert not called.endswith("torch.load") or options.get("weights_only") == "True", source


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_planted_pickle_is_not_loaded(copy, tmp_path):
    bomb, target = pickle.dumps(Bomb(tmp_path / "ran")), tmp_path / "ran"
    pickle.loads(bomb)
    assert target.exists()  # so it would be seen
    target.unlink()
    for file in [f for f in sorted(copy.rglob("*")) if f.is_file() and not f.name.startswith(".")]:
        data = file.read_bytes()
        for content in {bomb, (bomb + b"\0" * len(data))[: len(data)]}:
            file.write_bytes(content)
            for use in (len, lir.LirIndex.verify, lambda i: uses(i)["token stats"]()):
                try:
                    use(lir.LirIndex(copy))
                except ValueError:
                    continue
            file.write_bytes(data)
    assert not target.exists()
