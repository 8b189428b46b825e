"""The peers that the benchmarks are measured beside compute the same gradient, on unpadded input."""

from importlib.util import find_spec

import pytest

from benchmarks.step import JOBS, gradient_differences

PEERS = {"textbrewer": "TextBrewer", "silverspoon_kd": "silverspoon-kd", "bertdistiller": "bertdistiller"}


@pytest.mark.slow
@pytest.mark.parametrize("job", JOBS)
def test_every_installed_peer_has_our_gradient(job):
    absent = [name for module, name in PEERS.items() if find_spec(module) is None]
    variants = {name: entry for name, entry in JOBS[job].items() if name.split()[0] not in absent}
    if all(entry.allowed is None for entry in variants.values()):
        pytest.skip(f"not installed: {', '.join(absent)} (make bench installs them)")
    found = gradient_differences(variants)  # raises for another gradient
    assert found
