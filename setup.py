"""The compiled parts, which pyproject.toml cannot declare without an experimental table.

Built against Python's stable ABI, so that one wheel serves every Python from 3.11 on.
"""

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "stepgym.rewards._matching",
            sources=["rewards/_matching.c"],
            define_macros=[("Py_LIMITED_API", "0x030B0000")],
            py_limited_api=True,
            extra_compile_args=["-O2"],
        ),
        Extension(
            "stepgym.trainers._attention",
            sources=["trainers/_attention.c"],
            define_macros=[("Py_LIMITED_API", "0x030B0000")],
            py_limited_api=True,
            extra_compile_args=["-O3"],
        ),
    ],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
