"""Parse the names of a LoRA's tensors in every style in which Wan LoRAs are published.

Styles: diffusers (`transformer.`), PEFT (`base_model.model.`, adapter names), ComfyUI and diffusion-pipe
(`diffusion_model.`), kohya and musubi (`lora_unet_blocks_0_self_attn_q`), LightX2V (`.diff`, `.diff_b`, `.diff_m`),
LyCORIS for norms (`.w_norm`, `.b_norm`, which are differences too).
"""

from __future__ import annotations

import re
from collections.abc import Collection
from enum import StrEnum

from models.checkpoints.wan_names import diffusers_name, original_name


class Part(StrEnum):
    """Name the role of a tensor in the change of a module."""

    DOWN = "lora_A (or lora_down)"
    UP = "lora_B (or lora_up)"
    ALPHA = "alpha"
    WEIGHT = "diff (or w_norm)"
    BIAS = "diff_b (or b_norm)"
    MODULATION = "diff_m"


_ADAPTER = r"(?:\.(?P<adapter>[^.]+)\.weight|\.weight|\.default)?"
_PARTS: tuple[tuple[Part, re.Pattern[str]], ...] = (
    (
        Part.DOWN,
        re.compile(rf"\.lora_(?:A|down){_ADAPTER}$|[._]lora\.down\.weight$|\.lora_linear_layer\.down\.weight$"),
    ),
    (Part.UP, re.compile(rf"\.lora_(?:B|up){_ADAPTER}$|[._]lora\.up\.weight$|\.lora_linear_layer\.up\.weight$")),
    (Part.ALPHA, re.compile(r"\.alpha$")),
    (Part.WEIGHT, re.compile(r"\.(?:diff|w_norm)$")),
    (Part.BIAS, re.compile(r"\.(?:diff_b|b_norm)$")),
    (Part.MODULATION, re.compile(r"\.diff_m$")),
)
REFUSED: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"\.dora_scale$|\.lora_magnitude_vector\b"), "DoRA (weights taken apart into length and direction)"),
    (re.compile(r"\.hada_\w+$"), "LoHa (Hadamard products)"),
    (re.compile(r"\.lokr_\w+$"), "LoKr (Kronecker products)"),
    (re.compile(r"\.lora_mid\b"), "LoCon with a core tensor (lora_mid)"),
    (re.compile(r"\.b?oft_\w+"), "OFT (orthogonal finetuning)"),
    (re.compile(r"\.(?:a1|a2|b1|b2|bm1|bm2)\.weight$"), "GLoRA"),
    (re.compile(r"\.on_input$|\.ia3_\w+"), "IA3"),
    (re.compile(r"\.vera_\w+"), "VeRA"),
    (re.compile(r"\.set_weight$|\.reshape_weight$"), "weights that replace the model's (set_weight)"),
    (re.compile(r"\.lora_embedding_[AB]\b"), "a LoRA of embeddings"),
    (re.compile(r"\.lora_(?:A|B|down|up)(?:\.[^.]+)?\.bias$"), "a LoRA with biases"),
    (re.compile(r"\.base_layer\.|\.modules_to_save\."), "a model saved with its LoRA not merged"),
)
TEXT_ENCODER = re.compile(
    r"^(?:base_model\.model\.)?(?:lora_te\d?_|lora_clip\w*_|text_encoders?[._\d]|text_model\.|te\d?\.)"
)
IMAGE = re.compile(r"(?:k_img|v_img|norm_k_img|img_emb|add_k_proj|add_v_proj|norm_added_k|image_embedder)(?:[._]|$)")
_PREFIXES = (
    "base_model.model.",
    "model.diffusion_model.",
    "diffusion_model.",
    "transformer.",
    "generator.",
    "pipe.dit.",
    "dit.",
    "unet.",
    "model.",
)
_JOINED = ("lora_unet__", "lora_unet_", "lora_transformer_", "lycoris_", "diffusion_model_")


def part_of(key: str) -> tuple[str, Part, str | None] | None:
    """Return a key's module as written, the role of its tensor, and the adapter's name if there is one."""
    for part, pattern in _PARTS:
        if match := pattern.search(key):
            return key[: match.start()], part, match.groupdict().get("adapter")
    return None


class ModuleNames:
    """Find a model's parameters by the names that LoRAs give its modules."""

    def __init__(self, parameters: Collection[str]) -> None:
        """Index the modules of a model by both namings, with dots and with underscores."""
        blocks = [int(m[1]) for p in parameters if (m := re.match(r"blocks\.(\d+)\.", p))]
        self.blocks = 1 + max(blocks, default=-1)  # of the model
        self._dotted: dict[str, str] = {}
        for parameter in parameters:
            for name in (parameter, diffusers_name(parameter), original_name(parameter)):
                module, _, leaf = name.rpartition(".")
                if leaf in ("weight", "modulation"):
                    self._dotted[module] = parameter
        self._joined = {name.replace(".", "_"): parameter for name, parameter in self._dotted.items()}

    def find(self, written: str) -> str | None:
        """Return the parameter (`….weight`, or a modulation) of the module that a LoRA calls `written`, or None."""
        name = bare_name(written)
        if name in self._dotted:
            return self._dotted[name]
        for prefix in _JOINED:
            if written.startswith(prefix):
                return self._joined.get(written.removeprefix(prefix).replace(".", "_"))
        return None


def bare_name(written: str) -> str:
    """Return a module's name without the prefixes of trainers."""
    while prefix := next((p for p in _PREFIXES if written.startswith(p)), None):
        written = written.removeprefix(prefix)
    return written
