"""Settings of all tests."""

import hypothesis

# How long an example takes to draw or to run says something about the machine's other work, not about the code. In CI
# Hypothesis itself sees to it that the same examples are tried each time; what is set here is added to that.
hypothesis.settings.register_profile(
    "untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow], print_blob=True
)
hypothesis.settings.load_profile("untimed")
