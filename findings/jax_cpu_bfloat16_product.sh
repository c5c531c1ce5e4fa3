#!/usr/bin/env bash
# jax and jaxlib 0.10.2 on CPU: a product of two bfloat16 arrays with a float32 result
# (preferred_element_type) is computed, and its transposition, in one compiled function, is refused:
#
#   jit(x, y -> einsum("btf,btd->fd", x, y))     works
#   jit(x, y -> einsum("btf,btd->fd", x, y).T)   UNIMPLEMENTED: Unsupported element type for
#                                                DotThunk::Execute: BF16 x BF16 = F32
#
# The same two steps without jit around both work, and so does the compiled transposition of float32
# arrays. It is the form of a weight's gradient (x and y are [batch, time, width]), so that whether
# mixed precision runs on CPU depends on the order of a product's axes. It seems that XLA folds the
# transposition into the product after it decided which products its library computes in bfloat16
# and which in float32, so that neither takes this one. It is the same with --xla_cpu_max_isa=AVX2,
# and with jax 0.12.0.1.
#
# The exit status is 1 if this is no longer so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet jax==0.10.2 jaxlib==0.10.2
cat > "$folder/check.py" <<'PYTHON'
import sys

import jax
import jax.numpy as jnp


def product(x, y):
    return jnp.einsum("btf,btd->fd", x, y, preferred_element_type=jnp.float32)


def turned(x, y):
    return product(x, y).T


def outcome(function, dtype):
    x, y = jnp.ones((2, 8, 8), dtype), jnp.ones((2, 8, 4), dtype)
    try:
        return f"sum {float(function(x, y).sum()):g}"
    except jax.errors.JaxRuntimeError as error:
        return str(error).split(": ", 1)[1]


found = {
    "compiled product": outcome(jax.jit(product), jnp.bfloat16),
    "compiled product, turned afterwards": outcome(
        lambda x, y: jax.jit(product)(x, y).T, jnp.bfloat16
    ),
    "compiled product and turn, float32": outcome(jax.jit(turned), jnp.float32),
    "compiled product and turn, bfloat16": outcome(jax.jit(turned), jnp.bfloat16),
}
for name, text in found.items():
    print(f"{name}: {text}")
*works, refused = found.values()
unchanged = set(works) == {"sum 512"} and "BF16 x BF16 = F32" in refused
print("as described" if unchanged else "CHANGED")
sys.exit(0 if unchanged else 1)
PYTHON
JAX_PLATFORMS=cpu "$folder/venv/bin/python" "$folder/check.py"
