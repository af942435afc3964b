"""Checkpoints of several ranks, saved by all at once and loaded by any other number of them.

import sorus.distributed.checkpoint as dcp

model_state, optimizer_state = dcp.state_dict.get_state_dict(model, optimizer)
dcp.save({"model": model_state, "optimizer": optimizer_state, "step": step}, checkpoint_id="out/step-100")

state = {"model": ..., "optimizer": ..., "step": 0}        # of this job's placement
dcp.load(state, checkpoint_id="out/step-100")              # fills its tensors, replaces its other values
"""

from . import state_dict as state_dict
from .saving import load, save
