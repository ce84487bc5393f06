"""the kernels are compiled with the compiler's sanitizers, and the tests run over them.

    python benchmarks/torture/sanitizers.py --write

*address*: AddressSanitizer and UndefinedBehaviorSanitizer, which end the process at what they find. *thread*:
ThreadSanitizer. Both compile every file that the kernels have, for x86-64-v3 and -v2, at -O1, in a copy of the
repository; then all tests run in it but `UNFIT` and `UNFIT_TESTS`, for *thread* also without `FORKS`, and 20,000 rounds
of ``fuzz_kernels.py``. Leaks are not looked for: Python and NumPy keep what they allocate until the process ends. Only
the kernels are instrumented, so that what torch and OpenMP do among themselves is seen by neither. It takes g++ with
its sanitizers, and an hour or two.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

import pybind11
import rounds
from rounds import ROOT

SANITIZERS = {"address": ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"], "thread": ["-fsanitize=thread"]}
LIBRARIES = {"address": ["libasan.so", "libubsan.so", "libstdc++.so.6"], "thread": ["libtsan.so"]}
# Tests of the repository, of pages in a browser, of training, which is torch's alone, and of Ray, whose processes begin
# without the sanitizer.
UNFIT = (
    "contributing", "distributed", "docs", "installing", "layers", "notebooks", "package", "papers", "public_names",
    "readme", "release", "report", "reproduce", "serve", "train", "train_data", "train_losses", "train_pooling",
)  # fmt: skip
# They fork, and ThreadSanitizer knows no threads that a forked process starts.
FORKS = (
    "change_interrupted", "compress", "damage", "derived", "forgery", "imports_refused", "index_interrupted",
    "nothing_executes",
)  # fmt: skip
# They measure memory, of which a sanitizer keeps what is freed, or have readers that must open an index twice in time.
UNFIT_TESTS = (
    "test_index.py::test_building_streams", "test_compress.py::test_memory_is_bounded",
    "test_readers.py::test_readers_while_one_writes",
)  # fmt: skip
LEVELS = ("x86_64_v3", "x86_64_v2")


def copied(folder: Path) -> None:
    """The repository without what is compiled, hidden or built."""
    without = shutil.ignore_patterns("*.so", "__pycache__", ".*", "build", "dist", "*.egg-info")
    shutil.copytree(ROOT, folder, ignore=without, dirs_exist_ok=True)


def compiled(folder: Path, name: str) -> None:
    """Compiles the kernels of a copy, and asks whether they are what runs there."""
    kernels, suffix = folder / "pyterrier_lir" / "kernels", sysconfig.get_config_var("EXT_SUFFIX")
    includes = [f"-I{pybind11.get_include()}", f"-I{sysconfig.get_path('include')}"]
    flags = [
        "-std=c++17", "-O1", "-g1", "-fno-omit-frame-pointer", "-ffp-contract=off", "-fvisibility=hidden", "-fPIC",
        "-shared", "-pthread", *includes,
    ]  # fmt: skip
    subprocess.run(["g++", *flags, kernels / "src" / "cpu.cpp", "-o", kernels / f"_cpu{suffix}"], check=True)
    for level in LEVELS:
        build = [f"-march=x86-64-{level[-2:]}", f"-DLIR_MODULE=_{level}", *SANITIZERS[name]]
        sources = sorted((kernels / "src").glob("[ms]*.cpp"))
        subprocess.run(["g++", *flags, *build, *sources, "-o", kernels / f"_{level}{suffix}"], check=True)
    there = run(folder, name, ["-c", "from pyterrier_lir import kernels; print(*kernels.available())"])
    assert there.split() == [*LEVELS, "numpy"], there


def environment(folder: Path, name: str) -> dict[str, str]:
    """Loads the sanitizer before Python, and lets it write what it finds into files."""
    found = [subprocess.check_output(["g++", f"-print-file-name={lib}"], text=True).strip() for lib in LIBRARIES[name]]
    options = f"halt_on_error={int(name == 'address')}:log_path={folder / 'report'}:print_stacktrace=1"
    memory = "allocator_may_return_null=1:max_allocation_size_mb=4096"
    others = "new_delete_type_mismatch=0:alloc_dealloc_mismatch=0"  # in pyterrier_pisa and in pytrec_eval
    threads = "ignore_noninstrumented_modules=1:die_after_fork=0"
    return {
        **os.environ, "LD_PRELOAD": " ".join(found), "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1",
        "PYTHONMALLOC": "malloc", "LIR_TEST_DATA": os.environ.get("LIR_TEST_DATA", str(ROOT.parent / "shared")),
        "ASAN_OPTIONS": f"{options}:{memory}:{others}:detect_leaks=0", "UBSAN_OPTIONS": options,
        "TSAN_OPTIONS": f"{options}:{memory}:{threads}:exitcode=66",
    }  # fmt: skip


def run(folder: Path, name: str, command: list[str]) -> str:
    """Runs something over the sanitized kernels; its last line."""
    done = subprocess.run(
        [sys.executable, *command], cwd=folder, env=environment(folder, name), capture_output=True, text=True
    )
    reports = "\n".join(file.read_text() for file in folder.glob("report*"))
    assert done.returncode == 0 and not reports, done.stdout[-5000:] + done.stderr[-5000:] + reports[:10_000]
    return done.stdout.strip().splitlines()[-1]


def main() -> None:
    args = rounds.arguments(__doc__, 20_000, only="")
    table = []
    for name in SANITIZERS:
        if args.only not in ("", name):
            continue
        with tempfile.TemporaryDirectory(prefix=f"lir-{name}-") as place:
            folder, clock = Path(place), time.perf_counter()
            copied(folder)
            compiled(folder, name)
            parts = UNFIT + (FORKS if name == "thread" else ())
            without = [f"--ignore=tests/test_{part}.py" for part in parts]
            without += [f"--deselect=tests/{test}" for test in UNFIT_TESTS]
            two = ["--numprocesses", "2", "--dist", "loadfile"]
            told = run(folder, name, ["-m", "pytest", "-q", "-p", "no:cacheprovider", *two, "tests", *without])
            fuzzed = run(folder, name, ["benchmarks/torture/fuzz_kernels.py", "--rounds", str(args.rounds)])
            took = f"{(time.perf_counter() - clock) / 60:.0f}"
            table.append([name, told.partition(" in ")[0], fuzzed.strip("| ").replace(" | ", ", "), "0", took])
            print(*table[-1], sep="; ", flush=True)
    header = ["sanitizers", "tests", "fuzzed: equal, refused, not compared, wrong", "findings", "minutes"]
    rounds.write("sanitizers", __doc__, header, table, args)


if __name__ == "__main__":
    main()
