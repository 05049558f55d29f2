"""How the properties are run: a modest number of examples, or many.

``HYPOTHESIS_PROFILE=thorough pytest --timeout=0 tests/properties`` runs them for long. What fails
is kept in ``.hypothesis``, which is not in the repository, and tried first the next time.
"""

import os

from hypothesis import HealthCheck, Phase, settings

# A deadline would fail an example on a busy machine, and some examples start a server.
_COMMON = settings(
    deadline=None,
    derandomize=False,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    # Explaining a failure traces every line, for minutes.
    phases=[phase for phase in Phase if phase is not Phase.explain],
)
settings.register_profile("quick", _COMMON, max_examples=50, stateful_step_count=30)
settings.register_profile("thorough", _COMMON, max_examples=1000, stateful_step_count=50)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))
