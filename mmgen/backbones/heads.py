"""Small heads on a frozen backbone, which predict the tokens after the next one."""

from __future__ import annotations

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn
from torch.nn.functional import silu

from mmgen.backbones.raster import RasterTransformer
from mmgen.errors import OptionError, SizeError

KINDS = ("medusa", "hydra")


class TokenHeads(ModelMixin, ConfigMixin):
    """Heads of a raster transformer: from the feature that predicts one token, logits of those further on.

    The backbone's own head predicts the next token from its last feature; head `depth` predicts, from the
    same feature, the token `depth` steps past that one.

    - `medusa` (Cai et al. 2024, "Medusa", section 2.1.1): each head sees that feature alone.
    - `hydra` (Ankner et al. 2024, "Hydra", section 3): each head also sees the embeddings of the tokens
      chosen since, so drafts depend on one another.

    Each head is a residual, x + down(silu(up)), that starts at zero: as the backbone's own head. Deviations from
    both papers, whose residual is x + silu(linear): two layers; they also see which place of the grid they predict
    and the token one row above that place, both by the backbone's embeddings; and all heads share the backbone's
    vocabulary matrix, where Medusa gives each a copy. The backbone is an argument of every call, so the layers
    are all the weights there are.

    Args:
        size: channels C of the backbone's stream.
        hidden_size: channels between the two layers.
        depths: number of heads K.
        kind: `medusa` or `hydra`.

    Raises:
        OptionError: there is no such kind, or no head.
    """

    @register_to_config
    def __init__(self, size: int = 320, hidden_size: int = 320, depths: int = 4, kind: str = "hydra") -> None:
        super().__init__()
        if kind not in KINDS:
            raise OptionError("kind", kind, f"one of {', '.join(KINDS)}")
        if depths < 1:
            raise OptionError("depths", depths, "a whole number, 1 or more")
        self.depths = depths
        self.kind = kind
        self.blocks = nn.ModuleList(
            _Residual(size * (3 + self._seen(depth)), hidden_size, size) for depth in range(1, depths + 1)
        )

    def _seen(self, depth: int) -> int:
        """Tokens of the path that a head looks at."""
        return depth if self.kind == "hydra" else 0

    def logits(
        self,
        backbone: RasterTransformer,
        features: Tensor,
        depth: int,
        path: Tensor,
        position: Tensor,
        above: Tensor,
    ) -> Tensor:
        """Logits [..., V] of the token `depth` steps past the one that the backbone's head predicts.

        Args:
            backbone: the model these heads were trained on.
            features: its features [..., C], as `RasterTransformer.features` gives them.
            depth: 1 to K.
            path: int64 [..., depth], the tokens in between: the one that follows the feature, then those of
                the heads before this one. `medusa` does not look at it.
            position: int64 [...], the place on the line of the token predicted, 0 to N - 1; larger ones count as
                N - 1.
            above: int64 [...], the token one row above that place; see `token_above`.

        Raises:
            OptionError: there is no such head.
            SizeError: the path has another length than `depth`.
        """
        if not 1 <= depth <= self.depths:
            raise OptionError("depth", depth, f"a whole number from 1 to {self.depths}")
        if path.shape[-1] != depth:
            raise SizeError(f"a path of {path.shape[-1]} tokens", f"{depth}, as many as the depth")
        target = backbone.target_embedding(position.clamp(max=backbone.layout.length - 1))
        known = torch.cat((above[..., None], path[..., : self._seen(depth)]), dim=-1)
        seen = torch.cat((features, target, backbone.token_embedding(known).flatten(-2)), dim=-1)
        return backbone.head(features + self.blocks[depth - 1](seen))

    def teacher_forced(self, backbone: RasterTransformer, features: Tensor, depth: int, tokens: Tensor) -> Tensor:
        """Logits [R, N - depth, V] of the tokens from place `depth` on, given all tokens before them, for training.

        Args:
            features: of whole pictures [R, N, C], as `RasterTransformer.teacher_forced_features` gives them.
            tokens: int64 [R, N].
        """
        length = tokens.shape[1]
        path = tokens.unfold(1, depth, 1)[:, : length - depth]
        positions = torch.arange(depth, length, device=tokens.device).expand(len(tokens), -1)
        above = token_above(backbone, tokens, positions)
        return self.logits(backbone, features[:, : length - depth], depth, path, positions, above)


class _Residual(nn.Module):
    def __init__(self, seen: int, hidden_size: int, size: int) -> None:
        super().__init__()
        self.up = nn.Linear(seen, hidden_size)
        self.down = nn.Linear(hidden_size, size, bias=False)
        nn.init.zeros_(self.down.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(silu(self.up(x)))


def token_above(backbone: RasterTransformer, tokens: Tensor, positions: Tensor) -> Tensor:
    """The tokens one row above places on the grid: int64 [R, L]; the begin token above the first row.

    Args:
        tokens: lines int64 [R, N], written at least as far as the places asked for, less one row.
        positions: int64 [R, L]; those past the end count as the end.
    """
    places = positions.clamp(max=backbone.layout.length - 1) - backbone.layout.width
    return tokens.gather(1, places.clamp(min=0)).masked_fill(places < 0, backbone.begin_token)
