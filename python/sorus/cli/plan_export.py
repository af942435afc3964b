"""A plan for programs that people run on accelerators today. What they cannot express is listed, never dropped."""

from __future__ import annotations

import json
from typing import Any

MEGATRON_TYPES = {"bf16": "--bf16", "f16": "--fp16"}


def export(report: dict[str, Any], target: str) -> str:
    """The text for `target`: megatron, deepspeed, torchtitan or devicemesh. What is lost is told in comments at its end, in JSON under
    `not_expressed`."""
    return {"megatron": megatron, "deepspeed": deepspeed, "torchtitan": torchtitan, "devicemesh": devicemesh}[target](
        report
    )


def unequal(report: dict[str, Any]) -> bool:
    """Whether stages differ in more than what stands at both ends."""
    stages = [s["end_node"] - s["first_node"] for s in report["plan"]["stages"]][1:-1]
    return len(set(stages)) > 1


def notes(lines: list[str], sign: str = "#") -> str:
    return "".join(f"\n{sign} not expressed: {line}" for line in lines)


def megatron(report: dict[str, Any]) -> str:
    c, lost = report["choice"], []
    arguments = [
        f"--tensor-model-parallel-size {c['tp']}", f"--pipeline-model-parallel-size {c['pp']}",
        f"--micro-batch-size {c['micro_batch']}", f"--global-batch-size {report['batch']}",
    ]  # fmt: skip
    if report["dtype"] in MEGATRON_TYPES:
        arguments.append(MEGATRON_TYPES[report["dtype"]])
    if c["ep"] > 1:
        arguments.append(f"--expert-model-parallel-size {c['ep']}")
    if c["cp"] > 1:
        arguments.append(f"--context-parallel-size {c['cp']}")
    if c["chunks"] > 1:
        arguments.append(f"--num-virtual-stages-per-pipeline-rank {c['chunks']}")
    if c["sp"]:
        arguments.append("--sequence-parallel")
    if c["recompute"] == "full":
        arguments.append("--recompute-granularity full --recompute-method uniform --recompute-num-layers 1")
    elif c["recompute"] == "selective":
        arguments.append("--recompute-granularity selective")
    if c["zero"] == 1:
        arguments.append("--use-distributed-optimizer --overlap-grad-reduce --overlap-param-gather")
    elif c["zero"] > 1:
        arguments.append(
            f"--use-custom-fsdp --data-parallel-sharding-strategy {'optim_grads' if c['zero'] == 2 else 'optim_grads_params'}"
        )
    elif c["dp"] > 1:
        arguments.append("--overlap-grad-reduce")
    if c["offload"] and c["zero"] == 1:
        arguments.append("--optimizer-cpu-offload --use-precision-aware-optimizer")
    elif c["offload"]:
        lost.append("the optimizer on the host: --optimizer-cpu-offload goes with the distributed optimizer (ZeRO 1)")
    if c["schedule"] in ("zero-bubble", "gpipe"):
        lost.append(f"the schedule {c['schedule']}: Megatron-LM runs 1F1B")
    if unequal(report):
        lost.append("stages with unequal numbers of layers, but for --decoder-first/last-pipeline-num-layers")
    return " \\\n".join(arguments) + notes(lost)


def deepspeed(report: dict[str, Any]) -> str:
    c, lost = report["choice"], []
    config: dict[str, Any] = {
        "train_batch_size": report["batch"], "train_micro_batch_size_per_gpu": c["micro_batch"],
        "gradient_accumulation_steps": c["micro_batches"],
        "zero_optimization": {"stage": c["zero"], "overlap_comm": True,
                              "reduce_bucket_size": report["plan"]["bucket_bytes"] // 2},
    }  # fmt: skip
    if report["dtype"] in ("bf16", "f16"):
        config["bf16" if report["dtype"] == "bf16" else "fp16"] = {"enabled": True}
    if c["offload"] and c["zero"] == 0:
        lost.append("the optimizer on the host: offload_optimizer takes ZeRO 1 at least")
    elif c["offload"]:
        config["zero_optimization"]["offload_optimizer"] = {"device": "cpu", "pin_memory": True}
    if c["tp"] > 1:
        config["tensor_parallel"] = {"autotp_size": c["tp"]}
    if c["pp"] > 1:
        lost.append(f"{c['pp']} pipeline stages: give them to PipelineModule(num_stages={c['pp']})")
        if c["schedule"] != "1f1b":
            lost.append(f"the schedule {c['schedule']}: PipelineModule runs 1F1B")
    if c["ep"] > 1:
        lost.append(f"experts on {c['ep']} ranks: build them with deepspeed.moe.layer.MoE(ep_size={c['ep']})")
    if c["cp"] > 1:
        lost.append(f"context parallelism of {c['cp']}: the nearest is sequence_parallel_size with deepspeed.sequence, which "
                    "splits heads inside of attention")  # fmt: skip
    if c["recompute"] != "none":
        config["activation_checkpointing"] = {"partition_activations": c["tp"] > 1}
        lost.append(f"{c['recompute']} recomputation: call deepspeed.checkpointing.checkpoint in the model")
    if c["sp"]:
        lost.append("sequence parallelism between tensor-parallel operators")
    if unequal(report):
        lost.append("stages with unequal numbers of layers: PipelineModule's partition_method")
    if lost:  # a key that DeepSpeed does not read: JSON has no comments
        config["not_expressed"] = lost
    return json.dumps(config, indent=2)


def torchtitan(report: dict[str, Any]) -> str:
    c, lost = report["choice"], []
    # FSDP2 splits optimizer state and gradients with the parameters; keeping them whole in the forward pass is ZeRO 2.
    sharded = c["zero"] > 0
    schedule = {
        "none": "1F1B",
        "1f1b": "1F1B",
        "gpipe": "GPipe",
        "interleaved": "Interleaved1F1B",
        "zero-bubble": "ZBVZeroBubble",
    }
    lines = [
        "[training]", f"global_batch_size = {report['batch']}", f"local_batch_size = {c['micro_batch'] * (c['micro_batches'] if c['pp'] > 1 else 1)}",
        "", "[parallelism]", f"data_parallel_replicate_degree = {1 if sharded else c['dp']}",
        f"data_parallel_shard_degree = {c['dp'] if sharded else 1}",
        f"context_parallel_degree = {c['cp']}", f"tensor_parallel_degree = {c['tp']}",
        f"pipeline_parallel_degree = {c['pp']}", f"expert_parallel_degree = {c['ep']}",
    ]  # fmt: skip
    if c["pp"] > 1:
        lines += [
            f'pipeline_parallel_schedule = "{schedule[c["schedule"]]}"',
            f"pipeline_parallel_microbatch_size = {c['micro_batch']}",
        ]
    if sharded:
        lines.append(f'fsdp_reshard_after_forward = "{"always" if c["zero"] == 3 else "never"}"')
    lines += ["", "[activation_checkpoint]", f'mode = "{c["recompute"]}"']
    if c["zero"] == 1:
        lost.append("ZeRO 1 exactly: gradients are split too, which is not slower")
    if c["schedule"] == "zero-bubble":
        lost.append("ZB-H1 exactly: ZBV is the nearest schedule, with two stages a device")
    if c["chunks"] > 1:
        lost.append(
            f"{c['chunks']} stages a device: pipeline_parallel_layers_per_stage, or the modules of each stage, say it"
        )
    if unequal(report):
        lost.append("stages with unequal numbers of layers: list the modules of each stage")
    if report["dtype"] == "f32":
        lines.insert(2, 'mixed_precision_param = "float32"')
    elif report["dtype"] != "bf16":
        lost.append(f"arithmetic in {report['dtype']}: there are bfloat16 and float32")
    if c["offload"]:
        lines.insert(2, "enable_cpu_offload = true")
        lost.append("the optimizer alone on the host: parameters and gradients are offloaded with it")
    if c["tp"] > 1 and not c["sp"]:
        lost.append("tensor parallelism without sequence parallelism")
    return "\n".join(lines) + notes(lost)


def devicemesh(report: dict[str, Any]) -> str:
    plan, lost = report["plan"], []
    axes = [a for a in plan["mesh"] if a["size"] > 1] or plan["mesh"][:1]
    names = tuple(a["name"] for a in axes)
    lines = [
        "from torch.distributed.device_mesh import init_device_mesh",
        "from torch.distributed.tensor import Replicate, Shard, distribute_tensor",
        "",
        f'mesh = init_device_mesh("cuda", {tuple(a["size"] for a in axes)}, mesh_dim_names={names})',
    ]
    split = [n for n in names if any(n in mark["on"] for mark in plan["marks"])]
    on_mesh = f"mesh[{', '.join(map(repr, split))}]"
    lines.append(f"placements = {{  # of parameters on {on_mesh}; what is not named is Replicate()")
    for mark in plan["marks"]:
        on = [mark["on"].get(n, "R") for n in split]
        where = ", ".join(f"Shard({o[2:-1]})" if o.startswith("S") else "Replicate()" for o in on)
        lines.append(f'    "{mark["name"]}": [{where}],')
    lines += ["}", "for name, parameter in list(model.named_parameters()):",
              f"    where = placements.get(name, [Replicate()] * {len(split)})",
              f"    parameter.data = distribute_tensor(parameter.data, {on_mesh}, where)"]  # fmt: skip
    if not split:
        lines = lines[:4]
    c = report["choice"]
    if c["ep"] > 1:
        lost.append(f"the all-to-alls among {c['ep']} ranks around the experts")
    if c["cp"] > 1:
        lost.append(
            f"tokens split among {c['cp']} ranks: torch.distributed.tensor.experimental.context_parallel(mesh['cp'])"
        )
    if c["pp"] > 1:
        cuts = ", ".join(s["from"] for s in plan["stages"][1:8]) + (", ..." if len(plan["stages"]) > 8 else "")
        lost.append(
            f"the pipeline: cut before {cuts}; torch.distributed.pipelining takes the schedule {c['schedule']}"
        )
    if c["zero"]:
        lost.append(f"ZeRO {c['zero']}: torch.distributed.fsdp.fully_shard over mesh['dp']")
    if c["recompute"] != "none":
        lost.append(f"{c['recompute']} recomputation: torch.utils.checkpoint")
    if c["offload"]:
        lost.append("the optimizer on the host")
    return "\n".join(lines) + notes(lost)
