"""Packs the recipes and the op sources into the wheel and, where TensorFlow is at hand, compiles the ops."""

import importlib.util
import pathlib

import setuptools
from setuptools.command.build_py import build_py
from setuptools.dist import Distribution

try:
    from setuptools.command.bdist_wheel import bdist_wheel
except ImportError:  # setuptools before 70.1, which an environment without build isolation may have
    from wheel.bdist_wheel import bdist_wheel

HERE = pathlib.Path(__file__).resolve().parent
BUILDER = HERE / "kdet" / "ops" / "build.py"


def can_compile():
    return BUILDER.is_file() and importlib.util.find_spec("tensorflow") is not None


class BuildWithOps(build_py):
    """``build_py`` that also compiles the CPU ops; a failure leaves the portable ops and says so."""

    def run(self):
        super().run()
        if not can_compile():
            self.announce("TensorFlow is not importable here: run `python -m kdet.ops build` later.", level=3)
            return
        spec = importlib.util.spec_from_file_location("kdet_ops_build", BUILDER)
        builder = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(builder)
        try:
            if self.editable_mode:
                builder.build()
            else:
                builder.build(output_dir=pathlib.Path(self.build_lib) / "kdet" / "ops")
        except Exception as error:  # any failure of a compiler must not stop the installation
            self.warn(f"The compiled ops were not built ({error}); kdet uses its portable ops.")


class MaybeBinary(Distribution):
    """A wheel with compiled ops in it is bound to its platform ..."""

    def has_ext_modules(self):
        return can_compile()


class AnyPython(bdist_wheel):
    """... but not to a Python: the ops know nothing of it."""

    def get_tag(self):
        return ("py3", "none", super().get_tag()[2])


# folders beside the package that the wheel carries inside it
BESIDE = {"kdet._configs": "configs", "kdet._custom_ops": "custom_ops"}

setuptools.setup(
    packages=[*setuptools.find_packages(include=["kdet", "kdet.*"]), *BESIDE],
    package_dir=BESIDE,
    include_package_data=False,
    package_data={
        "kdet": ["py.typed", "**/*.csv", "**/*.json", "**/*.yaml"],
        "kdet._configs": ["*.csv", "*/*.yaml", "*/*/*.yaml"],
        "kdet._custom_ops": ["**/*.h", "**/*.cc", "**/*.cu"],
    },
    cmdclass={"build_py": BuildWithOps, "bdist_wheel": AnyPython},
    distclass=MaybeBinary,
)
