"""The wheel's tag: any Python 3, but only where the runtime's library that it carries runs."""

from setuptools import Distribution, setup
from setuptools.command.bdist_wheel import bdist_wheel


class PlatformDistribution(Distribution):
    """A distribution of pure Python and a shared library that setuptools does not build."""

    def has_ext_modules(self) -> bool:
        """Says that the distribution is bound to a platform."""
        return True


class PlatformWheel(bdist_wheel):
    """A wheel with the tag of the libraries that it carries, of two architectures."""

    def get_tag(self) -> tuple[str, str, str]:
        """Returns the tag: no part of the wheel depends on the version of Python."""
        return "py3", "none", "manylinux_2_28_aarch64.manylinux_2_28_x86_64"


setup(distclass=PlatformDistribution, cmdclass={"bdist_wheel": PlatformWheel})
