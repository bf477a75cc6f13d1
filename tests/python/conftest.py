import os

import numpy as np
import pytest
from hypothesis import settings

import ptxops

# Kernels run on a CPU here: a slow example is no failure. No database: nothing is written beside the tests.
settings.register_profile("ptxops", deadline=None, database=None, max_examples=8, print_blob=True)
settings.load_profile("ptxops")


@pytest.fixture(scope="session")
def ctx():
    return ptxops.default_context()


@pytest.fixture
def rng():
    seed = int(os.environ.get("PTXOPS_SEED", np.random.SeedSequence().entropy % 2**32))
    print(f"PTXOPS_SEED={seed}")  # shown with a failure
    return np.random.default_rng(seed)
