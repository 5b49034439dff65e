"""The compiled parts, which pyproject.toml cannot declare without an experimental table.

Modules are built against Python's stable ABI, so that one wheel serves every Python from 3.11 on. The sandboxes'
launcher is a program: it becomes the first process of a sandbox, where no Python may be.
"""

from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import LinkError

LAUNCHER = "stepgym.sandboxes.namespaces._launcher"


def module(name: str, source: str, flag: str) -> Extension:
    """An extension module of one source file."""
    return Extension(
        name,
        sources=[source],
        define_macros=[("Py_LIMITED_API", "0x030B0000")],
        py_limited_api=True,
        extra_compile_args=[flag],
    )


class Build(build_ext):
    """Builds programs besides modules."""

    def get_ext_filename(self, fullname: str) -> str:
        """Where the file goes, relative to the build's folder."""
        if fullname.endswith("._launcher") or fullname == "_launcher":
            return str(Path(*fullname.split(".")))
        return super().get_ext_filename(fullname)

    def build_extension(self, ext: Extension) -> None:
        """Compile and link; statically where the C library allows it, so that the program also runs in containers."""
        if ext.name != LAUNCHER:
            super().build_extension(ext)
            return
        objects = self.compiler.compile(
            ext.sources, output_dir=self.build_temp, extra_postargs=["-std=c11", "-O2"], depends=ext.depends
        )
        target = Path(self.get_ext_fullpath(ext.name))
        for flags in (["-static", "-s"], ["-s"]):
            try:
                self.compiler.link_executable(objects, target.name, output_dir=str(target.parent), extra_postargs=flags)
                return
            except LinkError:
                if flags == ["-s"]:
                    raise


setup(
    cmdclass={"build_ext": Build},
    ext_modules=[
        module("stepgym.rewards._matching", "rewards/_matching.c", "-O2"),
        module("stepgym.trainers._attention", "trainers/_attention.c", "-O3"),
        Extension(
            LAUNCHER,
            sources=sorted(str(path) for path in Path("sandboxes/namespaces/launcher").glob("*.c")),
            depends=["sandboxes/namespaces/launcher/launcher.h"],
        ),
    ],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
