"""Facts of the machine."""

import os

import numpy as np

from ingot.report.machine import _cpu_info, machine_facts, machine_warnings


def test_facts_are_those_of_this_machine():
    facts = machine_facts()
    assert facts.logical_cpus == os.cpu_count()
    assert facts.cpu
    assert facts.memory_bytes > 1e8
    assert facts.versions["numpy"] == np.__version__


def test_the_first_processor_counts():
    info = _cpu_info("processor\t: 0\nmodel name\t: A\nflags\t: fma avx2\n\nmodel name\t: B\n")
    assert info["model name"] == "A"
    assert info["flags"].split() == ["fma", "avx2"]


class TestWarnings:
    def facts(self, **changes):
        quiet = {"load_average": 0.0, "governor": "performance", "physical_cores": 2}
        return machine_facts().model_copy(update={"logical_cpus": 4, **quiet, **changes})

    def test_a_quiet_machine_gives_none(self):
        assert machine_warnings(self.facts(), threads=2) == []

    def test_a_busy_machine(self):
        (warning,) = machine_warnings(self.facts(load_average=3.1), threads=2)
        assert "load average 3.1 on 4 CPUs" in warning

    def test_a_governor_that_saves_power(self):
        (warning,) = machine_warnings(self.facts(governor="powersave"), threads=2)
        assert "'powersave'" in warning

    def test_more_threads_than_cores(self):
        (warning,) = machine_warnings(self.facts(), threads=3)
        assert "3 threads share 2 physical cores" in warning
