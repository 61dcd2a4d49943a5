"""What MERT computes for a second of audio, and what stopping early saves: benchmarks/flops.py

Counted by PyTorch on the meta device, where tensors have shapes but no values: no weights needed.
"""

import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import HubertConfig, HubertModel

from mer_utils.sound import mert, random_mert

SECONDS = 10
for size, stop in (("95m", 6), ("330m", 12)):
    config = random_mert.mert_config(size)
    settings = {key: config[key] for key in mert.ARCHITECTURE}
    with torch.device("meta"):
        network = HubertModel(HubertConfig(**settings, attn_implementation="eager")).eval()
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            network(torch.zeros(1, SECONDS * mert.SAMPLE_RATE))
    counts = counter.get_flop_counts()
    cost = {part: sum(kinds.values()) / SECONDS / 1e9 for part, kinds in counts.items()}
    whole, layer = cost["HubertModel"], cost["HubertModel.encoder.layers.0"]
    print(f"{size}: {whole:.1f} GFLOP a second of audio", end=", ")
    print(f"convolutions {cost['HubertModel.feature_extractor'] / whole:.0%}", end=", ")
    print(f"{1 - stop * layer / whole:.0%} when it stops after layer {stop}")
