"""Typical acceptance: whether a draft is likely enough, whatever it was drawn from."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mmgen.decoding.acceptance.rule import AcceptanceRule, Trial, probability
from mmgen.decoding.options import option


@dataclass
class Typical(AcceptanceRule):
    """Keeps x where p(x) > min(threshold, scale exp(-H(p))), H being the entropy; a refusal draws from p.

    Cai et al. 2024 (Medusa, typical acceptance; epsilon and delta in the paper). Where the model is unsure, less
    likely drafts are kept. No bound: what is kept depends on p alone, however it was drawn. Deviation: the first
    draft is tested like the others, where the paper always keeps the model's own choice. With a threshold of 1 and
    a scale of at least the vocabulary's size nothing is kept, which is plain autoregression.
    """

    name = "typical"
    law = "heuristic"
    paper = "Cai et al. 2024, arXiv 2401.10774"

    threshold: float = option(0.3, "probability that is always enough", minimum=0.0, maximum=1.0)
    scale: float = option(0.09, "probability that is enough, in units of exp(-entropy)", minimum=0.0, maximum=1e9)

    def keep(self, trial: Trial) -> Tensor:
        entropy = -torch.xlogy(trial.p, trial.p).sum(-1)
        enough = (self.scale * (-entropy).exp()).clamp(max=self.threshold)
        return probability(trial.p, trial.tokens) > enough

    def correction(self, trial: Trial) -> Tensor:
        return trial.p
