"""Benchmarks stand on each other: load("full") is bench/full/run as a module, although its name does not end in .py."""

import importlib.machinery
import importlib.util
from pathlib import Path


def load(name):
    loader = importlib.machinery.SourceFileLoader(f"bench_{name}", str(Path(__file__).resolve().parent / name / "run"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    return module
