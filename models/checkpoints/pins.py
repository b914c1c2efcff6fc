"""List the revisions and SHA-256 digests of the files that a pull fetches.

They are those that the hub publishes for these revisions, as independent public manifests repeat them. A file that is
not listed is trusted at its first pull and compared from then on (`models.checkpoints.known_hashes`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Pin:
    """Name a revision of a hub repository, and the SHA-256 of its files by path, in hexadecimal digits."""

    revision: str
    files: Mapping[str, str] = field(default_factory=dict)


PINS: dict[str, Pin] = {
    "Efficient-Large-Model/LongLive-1.3B": Pin(
        "cda9138d93872ef109d9a74c270184eb3a5acc6e",
        {
            "models/longlive_base.pt": "10a2aa8fcf89c77d9033f4c117405412a690e289625766619d293f0c5a208ee7",
            "models/lora.pt": "c4e43b87d62d4b0614b496773639f1ab170a7ee486dc23407901e9d3a5ebc07a",
        },
    ),
    "Wan-AI/Wan2.1-T2V-1.3B-Diffusers": Pin(
        "0fad780a534b6463e45facd96134c9f345acfa5b",
        {
            "text_encoder/config.json": "4087b6192155a4643f6d29fd326c4610103130674011ef4d0a53f8bce5de967d",
            "text_encoder/model-00001-of-00005.safetensors": (
                "c0ef3a140898e228a3520c9adec60743d2e8e5b3d229651bb37f1a3921919f99"
            ),
            "text_encoder/model-00002-of-00005.safetensors": (
                "481c7b2b39771c44df6dd8d13ee12ed072d731b4a650bd092885d4d52db229ad"
            ),
            "text_encoder/model-00003-of-00005.safetensors": (
                "f93148bcc04052a169e1e49bfcf6125df6cf9bf243cb9c627da75266cf8e35c3"
            ),
            "text_encoder/model-00004-of-00005.safetensors": (
                "a451792c739c05bca4606190cc2dd16731411bac03b4cf6aacc5767321f857c9"
            ),
            "text_encoder/model-00005-of-00005.safetensors": (
                "7e76e18d224531b8197a46231cb53daf7f2f6ca707130252becf933026ac4eea"
            ),
            "text_encoder/model.safetensors.index.json": (
                "8af791f24a6447aa30c95786f40adf23d3c9df97470d2f36159c8f1113f120b4"
            ),
            "tokenizer/special_tokens_map.json": "456b58fd240a06c743a7c2cf8008bec501240d68ebd1fc4018ea569505fea270",
            "tokenizer/spiece.model": "e3909a67b780650b35cf529ac782ad2b6b26e6d1f849d3fbb6a872905f452458",
            "tokenizer/tokenizer.json": "20a46ac256746594ed7e1e3ef733b83fbc5a6f0922aa7480eda961743de080ef",
            "tokenizer/tokenizer_config.json": "1d8d2a216bf8e70ac15b7ddcea566c4dd0433c024b39a58ca5e4c66bd78defbd",
            "vae/config.json": "f0c1cc1d7decb5badc384f54691746a27a9aeff49f7ebca974e583389342d527",
            "vae/diffusion_pytorch_model.safetensors": (
                "d6e524b3fffede1787a74e81b30976dce5400c4439ba64222168e607ed19e793"
            ),
        },
    ),
}
