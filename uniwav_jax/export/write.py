"""Writes a checkpoint as a folder that PyTorch reads.

    FOLDER/model.safetensors       weights, without pickle
    FOLDER/config.json             structure, features, sampler; also read by `transformers`
    FOLDER/preprocessor_config.json, vocab.json, tokenizer_config.json   read by `transformers`
    FOLDER/*.py                    code of the model (export/torch), which needs torch, safetensors
    FOLDER/README.md               model card
    FOLDER/SHA256SUMS              checksums of the other files

It runs on a CPU and needs memory for two copies of the exported arrays.
"""

import dataclasses
import hashlib
import json
import pathlib
import shutil
from typing import Any

import numpy as np

from uniwav_jax.checkpoint import reader, store
from uniwav_jax.codec import files
from uniwav_jax.codec.config import Structure
from uniwav_jax.config import Config
from uniwav_jax.errors import UserError
from uniwav_jax.export import card, codec_chains, names
from uniwav_jax.export.torch import uniwav_files
from uniwav_jax.features import SurfaceFeatures
from uniwav_jax.inference import tokenizer
from uniwav_jax.types import PyTree

TORCH = pathlib.Path(__file__).parent / "torch"
# These parts have classes of their own in the PyTorch model.
KNOWN = ("ctc", "heads", "tokens")
# For `transformers`: waveforms are only padded, because the model computes the features.
PREPROCESSOR = {
    "feature_extractor_type": "Wav2Vec2FeatureExtractor",
    "feature_size": 1,
    "padding_value": 0.0,
    "do_normalize": False,
    "return_attention_mask": True,
}


def export(
    path: str,
    out: str,
    *,
    encoder: str = "student",
    decoder: str = "average",
    notes: dict[str, str] | None = None,
) -> None:
    """Export a checkpoint of a task that has a PyTorch model.

    Args:
        path: workdir, checkpoints folder or step folder.
        out: new folder.
        encoder: "student", with its heads and the decoder, or in pretraining "teacher", with its
            codebooks. Heads and decoder fit only the student's states, codebooks only the
            teacher's.
        decoder: weights of conditioning and decoder: the running "average", or "trained".
        notes: "data" and "licence", for the model card.

    Raises:
        UserError: the checkpoint does not exist or has nothing to export, or `out` exists.
    """
    checkpoint = reader.open(path)
    config, meta = checkpoint.config, checkpoint.meta
    params, features = read(checkpoint, encoder=encoder, decoder=decoder), checkpoint.features()
    structure = features.config if config.features.kind == "codec" else None
    tensors = names.to_torch(params, codec_chains.rules(structure))
    tensors |= {
        name.replace("_ih_", "_hh_"): np.zeros_like(bias)  # PyTorch's LSTM adds two biases
        for name, bias in tensors.items()
        if ".bias_ih_l" in name
    }
    if config.features.kind == "log_mel":
        tensors["features.filters"] = features.filters
    document = describe(checkpoint, params, features, structure)
    document["uniwav"]["weights"] = {"encoder": encoder, "decoder": decoder}
    preprocessor = {**PREPROCESSOR, "sampling_rate": config.features.sample_rate}
    documents = {uniwav_files.CONFIG: document, "preprocessor_config.json": preprocessor}
    for name, fields in checkpoint.task.export_documents(config).items():
        documents[name] = _merged(documents.get(name, {}), fields)
    with files.new_folder(out) as draft:
        files.save_tensors(tensors, draft / uniwav_files.WEIGHTS, {"format": "pt"})
        for name, content in documents.items():
            text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
            (draft / name).write_text(text, encoding="utf-8")
        for source in TORCH.glob("*.py"):
            shutil.copy(source, draft / source.name)
        text = card.write(document, meta, checkpoint.folder, notes or {}, tensors)
        (draft / "README.md").write_text(text, encoding="utf-8")
        write_sums(draft)


def read(checkpoint: reader.Checkpoint, *, encoder: str, decoder: str) -> PyTree:
    """Read the exported parameters by part, including "features", as NumPy arrays.

    Args:
        checkpoint: the checkpoint.
        encoder, decoder: as for `export`.

    Raises:
        UserError: the task has no PyTorch model, or the checkpoint lacks the encoder.
    """
    path, task = checkpoint.folder, checkpoint.task
    if task.exports is None:
        raise UserError(f"{path} is a checkpoint of task {task.name}, which has no PyTorch model")
    places = task.exports(encoder, decoder)
    if not places:
        raise UserError(f"{path} is a checkpoint of task {task.name}, which has no {encoder}")
    places = {**places, "features": "frozen/features"}
    arrays = checkpoint.arrays(*places.values())
    params = {name: store.get(arrays, place) for name, place in places.items()}
    # Checkpoints of imported models lack some parts.
    params = {name: part for name, part in params.items() if part}
    if "encoder" not in params:
        raise UserError(f"{path} has no {encoder} encoder")
    return params


def exact(config: Config) -> Config:
    """The configuration in float32 with attention in plain JAX, for comparisons."""
    model = dataclasses.replace(config.model, compute_dtype="float32", attention="xla")
    return dataclasses.replace(config, model=model)


def describe(
    checkpoint: reader.Checkpoint,
    params: PyTree,
    features: SurfaceFeatures,
    structure: Structure | None,
) -> dict[str, Any]:
    """The content of config.json, without the fields that the task adds."""
    config = checkpoint.config
    values = json.loads(config.to_json())
    surface = {**values["features"], "channels": features.channels}
    surface["stats"] = surface["codec"] = ""  # paths on this machine do not belong in an export
    if structure:
        surface |= {part: codec_chains.describe(structure, part) for part in ("encoder", "decoder")}
        surface["context"] = features.context
        surface["codec"] = files.describe(structure)
    described = {
        "schema": uniwav_files.SCHEMA,
        "task": config.task,
        "parts": sorted(params),
        "linear": linear_heads(params),
        "step": checkpoint.step,
        "buckets": values["data"]["buckets"],  # seconds; longer audio is computed in windows
        "features": surface,
        "encoder": values["model"]["encoder"],
    }
    if "decoder" in params:
        described |= {"decoder": values["model"]["decoder"], "flow": values["flow"]}
    described |= {group: values[group] for group in checkpoint.task.export_groups}
    if "books" in params:
        described["digest"] = tokenizer.digest_of(config, params)
        described["tokenizer"]["units"] = ""  # a path on this machine
    c = config.model.encoder
    of_tokens = {}
    if "books" in params:  # as in the configurations of Mimi and EnCodec
        of_tokens = {"sampling_rate": features.sample_rate, "frame_rate": features.frame_rate}
        of_tokens |= {"num_quantizers": config.tokenizer.books}
        of_tokens |= {"codebook_size": config.tokenizer.codewords}
    return {
        **of_tokens,
        "model_type": "uniwav",
        "architectures": ["UniWavModel"],
        "auto_map": {
            "AutoConfig": "configuration_uniwav.UniWavConfig",
            "AutoModel": "modeling_uniwav.UniWavModel",
        },
        "hidden_size": c.width,
        "num_hidden_layers": c.layers,
        "num_attention_heads": c.heads,
        "inputs_to_logits_ratio": features.hop,  # with which pipelines cut long audio
        "vocab_size": 1,
        "pad_token_id": 0,
        "uniwav": described,
    }


def linear_heads(params: PyTree) -> dict[str, list[int]]:
    """{part: [inputs, outputs]} of the parts that are one linear layer {"kernel", "bias"}.

    In the PyTorch model they are `linear.PART` and read the encoder's states.
    """
    return {
        name: list(part["kernel"].shape)
        for name, part in params.items()
        if set(part) == {"kernel", "bias"} and name not in KNOWN
    }


def _merged(fields: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """Merge `more` into `fields`, including nested dicts."""
    both = {n: _merged(fields[n], v) for n, v in more.items() if isinstance(fields.get(n), dict)}
    return {**fields, **more, **both}


def write_sums(folder: pathlib.Path) -> None:
    """Write SHA256SUMS of all files in a folder, in the format of `sha256sum`."""
    lines = []
    for file in sorted(folder.iterdir()):
        if file.is_file() and file.name != uniwav_files.SUMS:
            with file.open("rb") as content:
                digest = hashlib.file_digest(content, "sha256").hexdigest()
            lines.append(f"{digest}  {file.name}\n")
    (folder / uniwav_files.SUMS).write_text("".join(lines), encoding="utf-8")
