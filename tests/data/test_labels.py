"""Labels of clips as arrays of a batch."""

import numpy as np

from uniwav_jax.data.labels import NONE, Labels

LABELS = Labels(
    dtypes={"speaker": np.int32, "phones": np.int16},
    encode=lambda corpus, clip, config: {"speaker": corpus[clip], "phones": [7] * clip},
    sequences=("phones",),
)


def test_scalars_and_padded_sequences():
    arrays = LABELS.empty(3, {"phones": 4})
    LABELS.fill(arrays, 1, [10, 11, 12], 2, None)
    assert {name: array.dtype for name, array in arrays.items()} == LABELS.dtypes
    assert arrays["speaker"].tolist() == [0, 12, 0]
    assert arrays["phones"].tolist() == [[-1] * 4, [7, 7, -1, -1], [-1] * 4]


def test_a_task_without_labels():
    arrays = NONE.empty(3, {})
    NONE.fill(arrays, 0, None, 0, None)
    assert arrays == {}
