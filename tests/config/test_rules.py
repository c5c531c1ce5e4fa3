"""A wrong value ends in one line that names the field, and every rule has a case here."""

import ast
import dataclasses
import inspect
import operator

import pytest

from tests.config.changed import changed
from uniwav_jax.config import Config, FeaturesConfig, from_dict, rules
from uniwav_jax.errors import UserError

# Field, value, and the field with which the message begins.
CASES = [
    ("task", "sing", "task"),
    ("task", "codec", "features.kind"),  # wants the waveform
    ("features.kind", "opus", "features.kind"),
    ("features.kind", "waveform", "features.kind"),
    ("model.encoder.norm", "both", "model.encoder.norm"),
    ("model.decoder.positions", "none", "model.decoder.positions"),
    ("model.remat", "some", "model.remat"),
    ("model.compute_dtype", "float16", "model.compute_dtype"),
    ("distillation.prediction", "hubert", "distillation.prediction"),
    ("distillation.teacher_schedule", "cosine", "distillation.teacher_schedule"),
    ("flow.solver", "heun", "flow.solver"),
    ("model.encoder.heads", 7, "model.encoder.width"),
    ("model.decoder.heads", 7, "model.decoder.width"),
    ("model.encoder.layers", 0, "model.encoder.layers"),
    ("model.encoder.position_groups", 7, "model.encoder.position_groups"),
    ("model.encoder.position_kernel", 18, "model.encoder.position_kernel"),
    ("model.decoder.position_kernel", 30, "model.decoder.position_kernel"),
    ("model.decoder.layers", 5, "model.decoder.layers"),
    ("distillation.top_layers", 0, "distillation.top_layers"),
    ("distillation.top_layers", 13, "distillation.top_layers"),
    ("masking.probability", 0.0, "masking.probability"),
    ("masking.probability", 1.5, "masking.probability"),
    ("masking.length", 0, "masking.length"),
    ("data.buckets", [], "data.buckets"),
    ("data.buckets", [8.0, 4.0], "data.buckets"),
    ("data.buckets", [4.0, 4.0], "data.buckets"),
    ("data.speeds", [], "data.speeds"),
    ("data.speeds", [1.0, 1.0], "data.speeds"),
    ("data.speeds", [0.4], "data.speeds"),
    ("data.min_seconds", 30.0, "data.min_seconds"),
    ("data.batch_seconds", 100.0, "data.batch_seconds"),
    ("data.row_multiple", 0, "data.row_multiple"),
    ("train.accumulate", 3, "data.row_multiple"),
    ("train.steps", 0, "train.steps"),
    ("train.log_every", 0, "train.log_every"),
    ("checkpoint.every", 0, "checkpoint.every"),
    ("checkpoint.keep", 0, "checkpoint.keep"),
    ("optim.decay", 0.6, "optim.warmup"),
    ("optim.clip", -1.0, "optim.clip"),
    ("model.encoder.activation_dropout", 1.0, "model.encoder.activation_dropout"),
    ("mesh.fsdp", -1, "mesh.data"),
    ("mesh.tensor", 0, "mesh.data"),
    ("model.attention", "flash", "model.attention"),
    ("model.attention", "cudnn", "model.attention"),  # the default has attention dropout
    ("distillation.codebook_init", "zeros", "distillation.codebook_init"),
    ("distillation.teacher_input", "own", "distillation.teacher_input"),
    ("model.decoder.width", 12 * 63, "model.decoder.width"),  # heads of odd width
    ("flow.weight", -1.0, "flow.weight"),
    ("flow.weight", float("nan"), "flow.weight"),
    ("flow.frames", "visible", "flow.frames"),
    ("flow.encoder_frozen", True, "flow.encoder_frozen"),
    ("distillation.mfcc_weight", -1.0, "distillation.mfcc_weight"),
    ("distillation.mfcc_visible", -1.0, "distillation.mfcc_visible"),
    ("init_parts", "encoder", "init_parts"),
    ("data.min_seconds", -1.0, "data.min_seconds"),
    ("evaluate.batches", -1, "evaluate.batches"),
    ("mesh.fsdp_most", -1, "mesh.fsdp_most"),
]


def refusal(field, value) -> str:
    """The one line that a value of a field ends in."""
    with pytest.raises(UserError) as error:
        from_dict(changed(field, value))
    message = str(error.value)
    assert "\n" not in message and message.startswith("config.")
    return message.removeprefix("config.")


@pytest.mark.parametrize(("field", "value", "named"), CASES)
def test_impossible_value_names_the_field(field, value, named):
    assert refusal(field, value).startswith(named)


def no_codec() -> str:
    """The message for codec features without a codec: two fields at fault together."""
    features = FeaturesConfig(kind="codec", codec="")
    with pytest.raises(UserError) as error:
        rules.validate(dataclasses.replace(Config(), features=features))
    return str(error.value).removeprefix("config.")


def kind(field):
    return type(operator.attrgetter(field)(Config()))


def test_what_must_be_positive():
    for field in rules.POSITIVE:
        for value in (0, -1):
            assert refusal(field, kind(field)(value)).startswith(f"{field} must be positive; got ")
        if kind(field) is float:
            assert refusal(field, float("nan")).startswith(f"{field} must be positive; got nan")


def test_shares_and_probabilities():
    """A share of 1 would divide by zero; a probability of 1 is one."""
    for field in rules.SHARES:
        for value in (-0.1, 1.0, float("nan")):
            assert refusal(field, value) == f"{field} must be at least 0 and below 1; got {value}"
    for field in rules.PROBABILITIES:
        for value in (-0.1, 1.1, float("nan")):
            assert refusal(field, value) == f"{field} must lie between 0 and 1; got {value}"
    from_dict(changed("model.encoder.layer_drop", 1.0))


def beginning(call: ast.Call) -> str:
    """The first words of the message of `require` or `one_of`, up to what is filled in."""
    message = call.args[-1 if call.func.id == "require" else 0]
    first = message.values[0] if isinstance(message, ast.JoinedStr) else message
    return first.value if isinstance(first, ast.Constant) else ""


def test_every_rule_has_a_case():
    tree = ast.parse(inspect.getsource(rules.validate))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    calls = [
        c for c in calls if isinstance(c.func, ast.Name) and c.func.id in ("require", "one_of")
    ]
    begun = {text for call in calls if (text := beginning(call))}
    assert len(begun) > 30
    found = [no_codec(), *(refusal(field, value) for field, value, _ in CASES)]
    missing = [text for text in begun if not any(message.startswith(text) for message in found)]
    assert not missing
