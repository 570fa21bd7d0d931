"""Everything about the package is in pyproject.toml, but for one step that it cannot say.

The BPF sources stay at the top of the repository, in bpf/, because they are half of the
program and not a detail of the Python package. BCC compiles them when the tracer starts, so
they must travel in the wheel: they go there as otel_ebpf/_bpf.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithBpf(build_py):
    def run(self) -> None:
        super().run()
        # An editable install reads bpf/ where it is.
        if self.editable_mode:
            return
        source = Path(__file__).resolve().parent / "bpf"
        target = Path(self.build_lib) / "otel_ebpf" / "_bpf"
        # An old build folder may hold sources that are gone since.
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(source, target)


setup(cmdclass={"build_py": BuildWithBpf})
