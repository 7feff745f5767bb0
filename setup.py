"""The wheel's tag: any Python 3, but only where the TVM runtime library that it carries runs."""

from setuptools import Distribution, setup
from setuptools.command.bdist_wheel import bdist_wheel


class PlatformDistribution(Distribution):
    """A distribution of pure Python and one shared library that is not built here."""

    def has_ext_modules(self) -> bool:
        """Says that the distribution is bound to a platform."""
        return True


class PlatformWheel(bdist_wheel):
    """A wheel with the tag of the apache-tvm wheel that its library comes from."""

    def get_tag(self) -> tuple[str, str, str]:
        """Returns the tag: no part of the wheel depends on the version of Python."""
        return "py3", "none", "manylinux_2_28_x86_64"


setup(distclass=PlatformDistribution, cmdclass={"bdist_wheel": PlatformWheel})
