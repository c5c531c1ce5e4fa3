"""Figures that are read from a compiled program: counts, loops, split collectives, traffic."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from uniwav_jax.models.attention import fused
from uniwav_jax.train import compiled

# This is the TPU compiler's format: a loop of four steps, whose all-gather is cut into two pieces.
HLO = """HloModule step

%start (p.0: bf16[1,40,64]) -> (bf16[1,40,64], bf16[1,160,64]) {
  %p.0 = bf16[1,40,64]{2,1,0:T(8,128)(2,1)} parameter(0)
  %all-gather.1 = bf16[1,160,64]{2,1,0:T(8,128)(2,1)} all-gather(%p.0), channel_id=7, dimensions={1}
  ROOT %call.1 = (bf16[1,40,64]{2,1,0}, bf16[1,160,64]{2,1,0}) custom-call(%all-gather.1), custom_call_target="AsyncCollectiveStart"
}

%middle (p.1: bf16[1,40,64], p.2: f32[4,8,8]) -> f32[8,8] {
  %p.1 = bf16[1,40,64]{2,1,0} parameter(0)
  %p.2 = f32[4,8,8]{2,1,0} parameter(1)
  %all-gather.2 = bf16[1,160,64]{2,1,0:T(8,128)(2,1)S(1)} all-gather(%p.1), channel_id=7, dimensions={1}
  ROOT %slice.1 = f32[8,8]{1,0} dynamic-slice(%p.2), dynamic_slice_sizes={1,8,8}
}

%body (b: (s32[], bf16[1,40,64], f32[4,8,8])) -> (s32[], bf16[1,40,64], f32[4,8,8]) {
  %b = (s32[]{:T(128)}, bf16[1,40,64]{2,1,0}, f32[4,8,8]{2,1,0}) parameter(0)
  %i = s32[]{:T(128)} get-tuple-element(%b), index=0
  %shard = bf16[1,40,64]{2,1,0} get-tuple-element(%b), index=1
  %stack = f32[4,8,8]{2,1,0} get-tuple-element(%b), index=2
  %f.1 = (bf16[1,40,64]{2,1,0:S(1)}, bf16[1,160,64]{2,1,0:S(1)}) fusion(%shard), kind=kCustom, calls=%start, metadata={op_name="jit(train_step)/jvp(Encoder)/while/body/layers/attention/BHQT,BHTd->BHQd/dot_general"}, backend_config={"estimated_cycles":"100"}
  %f.2 = f32[8,8]{1,0:S(1)} fusion(%shard, %stack), kind=kLoop, calls=%middle, backend_config={"estimated_cycles":"9223372036854775807"}
  ROOT %t = (s32[]{:T(128)}, bf16[1,40,64]{2,1,0}, f32[4,8,8]{2,1,0}) tuple(%i, %shard, %stack)
}

%condition (c: (s32[], bf16[1,40,64], f32[4,8,8])) -> pred[] {
  %limit = s32[]{:T(128)} constant(4)
  %c = (s32[]{:T(128)}, bf16[1,40,64]{2,1,0}, f32[4,8,8]{2,1,0}) parameter(0)
  %n = s32[]{:T(128)} get-tuple-element(%c), index=0
  ROOT %lt = pred[]{:T(512)} compare(%n, %limit), direction=LT
}

ENTRY %main (x: (s32[], bf16[1,40,64], f32[4,8,8]), g: f32[32,16]) -> f32[8,16] {
  %x = (s32[]{:T(128)}, bf16[1,40,64]{2,1,0}, f32[4,8,8]{2,1,0}) parameter(0)
  %g = f32[32,16]{1,0} parameter(1)
  %loop = (s32[]{:T(128)}, bf16[1,40,64]{2,1,0}, f32[4,8,8]{2,1,0}) while(%x), condition=%condition, body=%body
  %down = f32[8,16]{1,0} fusion(%g), kind=kLoop, calls=%nothing, metadata={op_name="jit(train_step)/transpose(jvp(Decoder))/while/body/checkpoint/rematted_computation/layers_in/down/dot_general"}, backend_config={"estimated_cycles":"7"}
  ROOT %scatter = f32[8,16]{1,0} reduce-scatter(%g), channel_id=8, dimensions={0}
}
"""  # noqa: E501


def test_collectives_count_once_and_as_often_as_they_run():
    found = {c.kind: c for c in compiled.Program(HLO).collectives()}
    assert set(found) == {"all-gather", "reduce-scatter"}
    gather, scatter = found["all-gather"], found["reduce-scatter"]
    assert (gather.bytes, gather.runs, gather.asynchronous) == (160 * 64 * 2, 4, True)
    assert (scatter.bytes, scatter.runs, scatter.asynchronous) == (32 * 16 * 4, 1, False)


def test_traffic_counts_hbm_only_and_slices_not_stacks():
    shard, one_of_stack = 40 * 64 * 2, 8 * 8 * 4
    per_run = shard + (shard + one_of_stack)  # results of both fusions are in S(1)
    scatter = (32 * 16 + 8 * 16) * 4
    assert compiled.Program(HLO).traffic() == 4 * per_run + 2 * scatter  # `down` moves as much
    assert compiled.Program(HLO).traffic("layers_in/down") == scatter
    assert compiled.Program(HLO).traffic("surface_features") == 0


# The v6e compiler prefetches an array, a slice of one, and an array that makes room.
PREFETCH = """HloModule prefetch

ENTRY %main (x: bf16[8,64], w: s8[1000]) -> bf16[8,64] {
  %x = bf16[8,64]{1,0} parameter(0)
  %w = s8[1000]{0} parameter(1)
  %c = (bf16[8,64]{1,0:T(8,128)S(1)}, bf16[8,64]{1,0}, u32[]{:S(2)}) copy-start(%x)
  %c.done = bf16[8,64]{1,0:T(8,128)S(1)} copy-done(%c)
  %s = ((s8[1000]{0}), s8[40]{0:T(1024)S(1)}, s32[]{:S(2)}) slice-start(%w), slice={[0:40]}
  %s.done = s8[40]{0:T(1024)S(1)} slice-done(%s)
  %o = (bf16[8,64]{1,0}, bf16[8,64]{1,0:S(1)}, u32[]{:S(2)}) copy-start(%c.done)
  ROOT %o.done = bf16[8,64]{1,0} copy-done(%o)
}
"""


def test_traffic_of_prefetches_counts_each_array_once():
    assert compiled.Program(PREFETCH).traffic() == 8 * 64 * 2 + 40 + 8 * 64 * 2


# A layer of a loop in that format: a nested fusion slices stacks and writes to two of them.
STACKS = """HloModule stacks

%slice_of (p.0: bf16[12,8,64], p.1: s32[]) -> bf16[8,64] {
  %p.0 = bf16[12,8,64]{2,1,0} parameter(0)
  %p.1 = s32[]{:T(128)S(6)} parameter(1)
  %d = bf16[1,8,64]{2,1,0} dynamic-slice(%p.0, %p.1), dynamic_slice_sizes={1,8,64}
  ROOT %b = bf16[8,64]{1,0} bitcast(%d)
}

%layer (p.2: bf16[12,8,64], p.3: s32[], p.4: bf16[12,8,64]) -> (bf16[12,8,64]) {
  %p.2 = bf16[12,8,64]{2,1,0} parameter(0)
  %p.3 = s32[]{:T(128)S(6)} parameter(1)
  %p.4 = bf16[12,8,64]{2,1,0} parameter(2)
  %p.5 = bf16[12,8,64]{2,1,0} parameter(3)
  %p.6 = f32[100]{0:S(1)} parameter(4)
  %f.1 = bf16[8,64]{1,0} fusion(%p.2, %p.3), kind=kLoop, calls=%slice_of
  %b.1 = bf16[1,8,64]{2,1,0} bitcast(%f.1)
  %u.1 = bf16[12,8,64]{2,1,0} dynamic-update-slice(%p.4, %b.1, %p.3)
  %u.2 = bf16[12,8,64]{2,1,0} dynamic-update-slice(%p.5, %b.1, %p.3)
  ROOT %t = (bf16[12,8,64]{2,1,0}, bf16[12,8,64]{2,1,0}) tuple(%u.1, %u.2)
}

ENTRY %main (x: bf16[12,8,64], i: s32[], y: bf16[12,8,64]) -> (bf16[12,8,64]) {
  %x = bf16[12,8,64]{2,1,0} parameter(0)
  %i = s32[]{:T(128)S(6)} parameter(1)
  %y = bf16[12,8,64]{2,1,0} parameter(2)
  %z = bf16[12,8,64]{2,1,0} parameter(3)
  %w = f32[100]{0:S(1)} parameter(4)
  ROOT %f = (bf16[12,8,64], bf16[12,8,64]) fusion(%x, %i, %y, %z, %w), kind=kLoop, calls=%layer
}
"""


def test_traffic_of_a_layer_counts_slices_of_the_stacks():
    assert compiled.Program(STACKS).traffic() == 3 * 8 * 64 * 2  # one slice read, two written


def test_cycles_are_summed_by_part_over_loop_steps():
    wanted = {"encoder forward: attention": 400, "decoder recomputed: feed forward": 7}
    assert compiled.Program(HLO).cycles() == wanted


@pytest.mark.parametrize(
    ("scope", "part"),
    [
        ("jvp(Encoder)/body/layers/attention/out/dot", "encoder forward: projections"),
        ("transpose(Encoder)/attention/BTD,DE->BTE/dot", "encoder backward: projections"),
        ("jvp(Encoder)/layers/norm_attention/mul", "encoder forward: norms"),
        ("jvp(Encoder)/positions/conv_general_dilated", "encoder forward: positions"),
        ("jvp(surface_features)/Codec.encode/encoder_1/norm", "features"),
        ("jit(_where)/select_n", "other forward: rest"),
    ],
)  # fmt: skip
def test_parts_are_named_after_the_modules(scope, part):
    assert compiled.part_of("jit(train_step)/" + scope) == part


@pytest.mark.parametrize("remat", [False, True])
def test_matmul_flops_count_loops_and_recomputation(remat):
    def layer(x, w):
        return jnp.tanh(x @ w), None

    body = jax.checkpoint(layer) if remat else layer

    def loss(w_Lx16x16, x_8x16):
        return jax.lax.scan(body, x_8x16, w_Lx16x16)[0].sum()

    args = jnp.ones((3, 16, 16)), jnp.ones((8, 16))
    product = 2 * 8 * 16 * 16
    assert compiled.matmul_flops(jax.make_jaxpr(loss)(*args)) == 3 * product
    # The backward pass has gradients of x and w; remat adds the forward product once more.
    backward = jax.make_jaxpr(jax.grad(loss, argnums=(0, 1)))(*args)
    assert compiled.matmul_flops(backward) == 3 * product * (4 if remat else 3)


def test_convolution_flops():
    def convolve(x, k):
        return jax.lax.conv_general_dilated(
            x, k, (2,), "SAME", dimension_numbers=("NWC", "WIO", "NWC"), feature_group_count=2
        )

    jaxpr = jax.make_jaxpr(convolve)(jnp.ones((3, 10, 4)), jnp.ones((5, 2, 6)))
    assert compiled.matmul_flops(jaxpr) == 2 * (3 * 5 * 6) * 5 * 2


@pytest.mark.parametrize("kernel", ["pallas", "splash"])
def test_matmul_flops_count_kernels_on_all_devices(kernel):
    """Seven matmuls of T x T x d: two forward, and five backward, which recompute the weights."""
    run = functools.partial(getattr(fused, kernel), interpret=True)
    shape = (4, 512, 4, 64) if kernel == "pallas" else (4, 4, 512, 64)
    q, mask = jnp.zeros(shape), jnp.ones((4, 512), bool)
    devices = np.array(jax.devices()[:4]).reshape(2, 1, 2)
    with jax.set_mesh(jax.sharding.Mesh(devices, ("data", "fsdp", "tensor"))):
        gradient = jax.grad(lambda q, k, v: run(q, k, v, mask).sum(), argnums=(0, 1, 2))
        jaxpr = jax.make_jaxpr(gradient)(q, q, q)
    # "pallas" multiplies whole registers of two such heads, with zeros outside a head.
    flops = 7 * 2 * (4 * 4) * 512**2 * (128 if kernel == "pallas" else 64)
    assert compiled.matmul_flops(jaxpr) == pytest.approx(flops, rel=1e-3)  # splash sums by a matmul
