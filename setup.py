"""The wheel's tag: any Python 3, but only where the TVM runtime library that it carries runs."""

from setuptools import setup
from setuptools.command.bdist_wheel import bdist_wheel


class PlatformWheel(bdist_wheel):
    """A wheel of pure Python and one shared library."""

    def finalize_options(self) -> None:
        """Marks the wheel as bound to a platform."""
        super().finalize_options()
        self.root_is_pure = False

    def get_tag(self) -> tuple[str, str, str]:
        """Returns the tag of the apache-tvm wheel that the library comes from."""
        return "py3", "none", "manylinux_2_28_x86_64"


setup(cmdclass={"bdist_wheel": PlatformWheel})
