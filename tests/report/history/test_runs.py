"""What runs have in common that can be compared."""

import pytest

from ingot.report.history.runs import kind_of_machine
from ingot.report.schema import MachineFacts


@pytest.mark.parametrize(
    ("change", "alike"),
    [
        ({"load_average": 9.0}, True),
        ({"system": "Other"}, True),
        ({"versions": {}}, True),
        ({"python": "3.12"}, True),
        ({"cpu": "Other"}, False),
        ({"physical_cores": 4}, False),
        ({"logical_cpus": 4}, False),
        ({"features": ("avx2", "fma")}, False),
        ({"virtual": False}, False),
    ],
)
def test_machines_are_alike_by_processor_cores_and_features(figures, change, alike):
    facts = figures.report().machine
    other = MachineFacts.model_validate({**facts.model_dump(), **change})
    assert (kind_of_machine(facts) == kind_of_machine(other)) is alike
