"""Write a checkpoint as a folder that PyTorch reads.

    FOLDER/model.safetensors       weights; no pickle
    FOLDER/config.json             structure, statistics' kind, sampler; also for `transformers`
    FOLDER/preprocessor_config.json, vocab.json, tokenizer_config.json   for `transformers`
    FOLDER/*.py                    the model's code, torch and safetensors only (export/torch)
    FOLDER/README.md               model card
    FOLDER/SHA256SUMS              of all of them

On a CPU, with memory for the exported arrays twice.
"""

import dataclasses
import hashlib
import json
import pathlib
import shutil
from typing import Any

import numpy as np
import safetensors.numpy

from uniwav_jax import config as config_lib
from uniwav_jax import features as features_lib
from uniwav_jax.checkpoint import store
from uniwav_jax.codec import files
from uniwav_jax.codec.config import Structure
from uniwav_jax.config import Config
from uniwav_jax.errors import UserError
from uniwav_jax.export import card, codec_chains, names
from uniwav_jax.export.torch import uniwav_files
from uniwav_jax.types import PyTree

TORCH = pathlib.Path(__file__).parent / "torch"


def export(
    path: str,
    out: str,
    *,
    encoder: str = "student",
    decoder: str = "average",
    told: dict[str, str] | None = None,
) -> None:
    """Export a checkpoint of pretraining or recognition.

    Args:
        path: workdir, checkpoints folder or step folder.
        out: new folder.
        encoder: "student" with its heads and the decoder, or in pretraining "teacher" with its
            codebooks. Heads and decoder learn from the student's states, codebooks cluster the
            teacher's, so neither is exported beside the other encoder.
        decoder: weights that sample: their running "average", or as "trained".
        told: what the model card says beside what the checkpoint tells: data, licence.

    Raises:
        UserError: no such checkpoint, nothing to export in it, or `out` exists.
    """
    config, params, meta = read(path, encoder=encoder, decoder=decoder)
    structure = None
    if config.features.kind == "codec":
        structure = files.load_config(config.features.codec)
    tensors = names.to_torch(params, codec_chains.rules(structure))
    tensors |= {
        name.replace("_ih_", "_hh_"): np.zeros_like(bias)  # torch's LSTM has two
        for name, bias in tensors.items()
        if ".bias_ih_l" in name
    }
    if config.features.kind == "log_mel":
        tensors["features.filters"] = features_lib.build(config.features).filters
    channels = len(params["features"]["mean"])
    document = describe(config, meta, sorted(params), channels, structure)
    document["uniwav"]["weights"] = {"encoder": encoder, "decoder": decoder}
    with files.new_folder(out) as draft:
        safetensors.numpy.save_file(tensors, draft / uniwav_files.WEIGHTS, {"format": "pt"})
        for name, content in {uniwav_files.CONFIG: document, **preprocessing(config)}.items():
            text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
            (draft / name).write_text(text, encoding="utf-8")
        for source in TORCH.glob("*.py"):
            shutil.copy(source, draft / source.name)
        text = card.write(document, meta, path, told or {}, tensors)
        (draft / "README.md").write_text(text, encoding="utf-8")
        write_sums(draft)


def read(path: str, *, encoder: str, decoder: str) -> tuple[Config, PyTree, dict[str, Any]]:
    """Configuration, the parameters that are exported, and the checkpoint's meta."""
    meta = store.load_meta(path)
    config = config_lib.from_dict(meta["config"])
    if config.task == "asr":
        wanted = {"encoder": "params/encoder", "ctc": "params/ctc"}
        if encoder != "student":
            raise UserError(f"{path} is a checkpoint of task asr: it has no {encoder}")
    elif config.task == "pretrain" and encoder == "teacher":
        wanted = {"encoder": "task/teacher", "codebooks": "task/codebooks"}
    elif config.task == "pretrain":
        of = "ema" if decoder == "average" else "params"
        wanted = {
            "encoder": "params/encoder",
            "heads": "params/heads",
            "condition": f"{of}/condition",
            "decoder": f"{of}/decoder",
        }
    else:
        raise UserError(
            f"{path} is of task {config.task}; 'uniwav export' writes a codec folder of it"
        )
    wanted["features"] = "features"
    arrays, meta = store.load_numpy(path, tuple(wanted.values()))
    params = {name: store.get(arrays, source) for name, source in wanted.items()}
    params = {name: part for name, part in params.items() if part}  # an import has not all
    if "encoder" not in params:
        raise UserError(f"{path} has no {encoder} encoder")
    return config, params, meta


def exact(config: Config) -> Config:
    """The configuration computed in float32 with plain attention, for comparison."""
    model = dataclasses.replace(config.model, compute_dtype="float32", attention="xla")
    return dataclasses.replace(config, model=model)


def describe(
    config: Config,
    meta: dict[str, Any],
    parts: list[str],
    channels: int,
    structure: Structure | None,
) -> dict[str, Any]:
    """The content of config.json."""
    values = json.loads(config.to_json())
    surface = {**values["features"], "channels": channels, "stats": ""}  # names no files of here
    if structure:
        surface |= {part: codec_chains.describe(structure, part) for part in ("encoder", "decoder")}
        surface["context"] = features_lib.build(config.features).context
        surface["codec"] = files.describe(structure)
    described = {
        "schema": uniwav_files.SCHEMA,
        "task": config.task,
        "parts": parts,
        "step": int(meta["step"]),
        "buckets": values["data"]["buckets"],  # seconds; longer audio goes through in windows
        "features": surface,
    }
    described["encoder"] = values["model"]["encoder"]
    if "decoder" in parts:
        described |= {"decoder": values["model"]["decoder"], "flow": values["flow"]}
    if config.task == "pretrain":
        described["distillation"] = values["distillation"]
    if "ctc" in parts:
        described["asr"] = values["asr"]
    modules = {"AutoConfig": "configuration_uniwav.UniWavConfig"}
    modules["AutoModel"] = "modeling_uniwav.UniWavModel"
    if "ctc" in parts:
        modules["AutoModelForCTC"] = "modeling_uniwav.UniWavForCTC"
    c = config.model.encoder
    return {
        "model_type": "uniwav",
        "architectures": ["UniWavForCTC" if "ctc" in parts else "UniWavModel"],
        "auto_map": modules,
        "hidden_size": c.width,
        "num_hidden_layers": c.layers,
        "num_attention_heads": c.heads,
        "vocab_size": len(config.asr.symbols) + 1,
        "pad_token_id": 0,
        "uniwav": described,
    }


def preprocessing(config: Config) -> dict[str, Any]:
    """Files for `transformers`: the model computes features, so waveforms are only padded."""
    documents: dict[str, Any] = {
        "preprocessor_config.json": {
            "feature_extractor_type": "Wav2Vec2FeatureExtractor",
            "sampling_rate": config.features.sample_rate,
            "feature_size": 1,
            "padding_value": 0.0,
            "do_normalize": False,
            "return_attention_mask": True,
        }
    }
    if config.task == "asr":
        documents["preprocessor_config.json"]["processor_class"] = "Wav2Vec2Processor"
        symbols = enumerate(config.asr.symbols, start=1)
        documents["vocab.json"] = {"<pad>": 0, **{symbol: number for number, symbol in symbols}}
        documents["tokenizer_config.json"] = {
            "tokenizer_class": "Wav2Vec2CTCTokenizer",
            "processor_class": "Wav2Vec2Processor",
            "pad_token": "<pad>",
            "unk_token": "<pad>",
            "bos_token": None,
            "eos_token": None,
            "word_delimiter_token": "|" if config.asr.units == "letters" else None,
            "do_lower_case": config.asr.lowercase,
        }
    return documents


def write_sums(folder: pathlib.Path) -> None:
    """Write SHA256SUMS of all files of a folder, in the form of `sha256sum`."""
    lines = []
    for file in sorted(folder.iterdir()):
        if file.is_file() and file.name != uniwav_files.SUMS:
            with file.open("rb") as content:
                digest = hashlib.file_digest(content, "sha256").hexdigest()
            lines.append(f"{digest}  {file.name}\n")
    (folder / uniwav_files.SUMS).write_text("".join(lines), encoding="utf-8")
