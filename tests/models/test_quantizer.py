"""Codebooks and residual quantisers agree with NumPy loops."""

import jax
import jax.numpy as jnp
import numpy as np

from uniwav_jax.models import quantizer

BOOKS, ROWS, FRAMES, WIDTH, WORDS = 2, 3, 20, 6, 32


def problem(seed=0):
    rng = np.random.default_rng(seed)
    targets = rng.normal(size=(BOOKS, ROWS, FRAMES, WIDTH)).astype(np.float32)
    mask = rng.random((ROWS, FRAMES)) < 0.5
    books = {
        "sums": rng.normal(size=(BOOKS, WORDS, WIDTH)).astype(np.float32),
        "counts": rng.uniform(0.5, 2.0, (BOOKS, WORDS)).astype(np.float32),
    }
    return targets, mask, books


def nearest(targets, books):
    """Index of the codeword S / c at the smallest Euclidean distance, by brute force."""
    words = books["sums"].astype(np.float64) / books["counts"][..., None]
    difference = targets[..., None, :] - words[:, None, None]
    return (difference**2).sum(-1).argmin(-1)


def test_assign_is_the_nearest_codeword():
    targets, _, books = problem()
    codes = quantizer.assign(jax.tree.map(jnp.asarray, books), jnp.asarray(targets))
    assert codes.dtype == jnp.int32
    np.testing.assert_array_equal(codes, nearest(targets, books))


def test_assign_divides_the_sums_by_the_counts():
    books = {"sums": jnp.array([[[2.0], [3.0]]]), "counts": jnp.array([[2.0, 1.0]])}
    # The codewords are 1 and 3; without the division they would be 2 and 3.
    np.testing.assert_array_equal(quantizer.assign(books, jnp.full((1, 1, 1, 1), 1.9)), [[[0]]])


def test_update_equals_a_loop_and_keeps_other_codewords():
    targets, mask, books = problem()
    codes = nearest(targets, books)
    expected = {name: value.astype(np.float64) for name, value in books.items()}
    untouched = 0
    for k in range(BOOKS):
        for v in range(WORDS):
            chosen = [
                targets[k, b, t]
                for b in range(ROWS)
                for t in range(FRAMES)
                if mask[b, t] and codes[k, b, t] == v
            ]
            if not chosen:
                untouched += 1
                continue
            expected["sums"][k, v] = 0.9 * expected["sums"][k, v] + 0.1 * sum(chosen)
            expected["counts"][k, v] = 0.9 * expected["counts"][k, v] + 0.1 * len(chosen)
    assert 0 < untouched < BOOKS * WORDS

    batch = quantizer.statistics(targets, jnp.asarray(codes), jnp.asarray(mask), WORDS)
    assert batch["counts"].sum() == BOOKS * mask.sum()
    updated = quantizer.update(jax.tree.map(jnp.asarray, books), batch, 0.9)
    for name in expected:
        np.testing.assert_allclose(updated[name], expected[name], rtol=1e-5, atol=1e-6)
    missed = np.asarray(batch["counts"]) == 0
    assert missed.sum() == untouched
    for name in books:  # to the last bit
        np.testing.assert_array_equal(np.asarray(updated[name])[missed], books[name][missed])


def test_statistics_of_parts_add_up_to_those_of_the_batch():
    targets, mask, books = problem()
    codes = jnp.asarray(nearest(targets, books))
    whole = quantizer.statistics(targets, codes, mask, WORDS)
    parts = [
        quantizer.statistics(targets[:, b : b + 1], codes[:, b : b + 1], mask[b : b + 1], WORDS)
        for b in range(ROWS)
    ]
    for name in whole:
        np.testing.assert_allclose(whole[name], sum(p[name] for p in parts), rtol=1e-5, atol=1e-5)


def test_instance_norm_ignores_padding():
    rng = np.random.default_rng(1)
    x = rng.normal(3.0, 2.0, (BOOKS, ROWS, FRAMES, WIDTH)).astype(np.float32)
    frames = np.array([20, 13, 5])
    real = np.arange(FRAMES) < frames[:, None]
    x[:, ~real] = 1e4  # padding must not count
    normalised, variance = quantizer.instance_norm(jnp.asarray(x), jnp.asarray(real))
    for b, n in enumerate(frames):
        row = x[:, b, :n].astype(np.float64)
        expected = (row - row.mean(1, keepdims=True)) / np.sqrt(row.var(1, keepdims=True) + 1e-5)
        np.testing.assert_allclose(normalised[:, b, :n], expected, atol=2e-5)
        np.testing.assert_allclose(variance[:, b], row.var(1).mean(-1), rtol=1e-4)


def test_instance_norm_is_float32_and_finite_on_a_row_without_audio():
    x = jnp.ones((1, 1, 4, 2), jnp.bfloat16)
    normalised, variance = quantizer.instance_norm(x, jnp.zeros((1, 4), bool))
    assert normalised.dtype == variance.dtype == jnp.float32
    assert np.isfinite(normalised).all()


def test_init_is_normalised_noise_with_counts_of_one():
    books = quantizer.init(jax.random.key(0), books=2, codewords=256, width=8)
    np.testing.assert_allclose(books["sums"].mean(1), 0, atol=1e-5)
    np.testing.assert_allclose(books["sums"].var(1), 1, atol=1e-3)
    np.testing.assert_array_equal(books["counts"], np.ones((2, 256)))
    assert (books["sums"][0] != books["sums"][1]).any()
    assert {leaf.dtype for leaf in jax.tree.leaves(books)} == {jnp.dtype("float32")}


def test_perplexity_counts_the_codewords_in_use():
    uniform, single = np.ones(256), np.eye(256)[3]
    quarter = np.r_[np.ones(64), np.zeros(192)]
    for counts, expected in ((uniform, 256), (single, 1), (quarter, 64)):
        np.testing.assert_allclose(
            quantizer.perplexity(jnp.asarray([7.0 * counts])), expected, rtol=1e-5
        )
    # The mean over books of the perplexities, not the perplexity of the mean.
    both = quantizer.perplexity(jnp.asarray([uniform, single]))
    np.testing.assert_allclose(both, 128.5, rtol=1e-5)
    skewed = np.array([0.5, 0.25, 0.25])
    expected = np.exp(-(skewed * np.log(skewed)).sum())
    np.testing.assert_allclose(quantizer.perplexity(jnp.asarray([skewed])), expected, rtol=1e-5)
    assert np.isfinite(quantizer.perplexity(jnp.zeros((1, 4))))  # a batch without masked frames


def test_codewords_start_at_different_real_frames_equal_in_all_books():
    targets, mask, books = problem()
    targets[1] = targets[0] + 100.0

    def start_at_frames(seed, mask):
        chosen = quantizer.choose_frames(jax.random.key(seed), mask, WORDS)
        at_frames = quantizer.chosen_statistics(targets, chosen, WORDS)
        return quantizer.update(books, at_frames, 0.0)

    started = start_at_frames(0, mask)
    frames = targets[0][mask]
    assert mask.sum() >= WORDS - 8
    found = [
        [i for i, frame in enumerate(frames) if np.allclose(frame, word)]
        for word in np.asarray(started["sums"][0])
    ]
    taken = [places[0] for places in found if places]
    assert len(taken) == len(set(taken)) == min(WORDS, len(frames))
    for word, places in enumerate(found):
        if places:
            np.testing.assert_allclose(started["sums"][1, word], frames[places[0]] + 100, rtol=1e-5)
            assert (np.asarray(started["counts"][:, word]) == 1).all()
        else:  # fewer frames than codewords
            np.testing.assert_array_equal(started["sums"][:, word], books["sums"][:, word])
    other = start_at_frames(1, mask)
    assert not np.array_equal(other["sums"], started["sums"])
    few = np.zeros_like(mask)
    few[0, :5] = True
    kept = start_at_frames(0, few)
    np.testing.assert_array_equal(kept["sums"][:, 5:], books["sums"][:, 5:])
    np.testing.assert_array_equal(kept["counts"][:, :5], 1.0)


def test_unused_codewords_move_to_their_candidate_frames_and_used_ones_do_not():
    books = {
        "sums": jnp.array([[[4.0], [0.01], [0.02]]]),
        "counts": jnp.array([[2.0, 0.01, 0.01]]),
    }
    nothing = {"sums": jnp.zeros((1, 3, 1)), "counts": jnp.zeros((1, 3))}
    candidates = {
        "sums": jnp.array([[[7.0], [8.0], [0.0]]]),
        "counts": jnp.array([[1.0, 1.0, 0.0]]),
    }
    new = quantizer.update_and_revive(books, nothing, candidates, decay=0.9, dead=0.1)
    # The first has a large enough count, the second moves to its frame, the third has no candidate.
    np.testing.assert_allclose(quantizer.codewords(new), [[[2.0], [8.0], [2.0]]], rtol=1e-6)
    np.testing.assert_allclose(new["counts"], [[1.8, 0.2, 0.009]], rtol=1e-6)
    hits = {"sums": jnp.array([[[0.0], [30.0], [0.0]]]), "counts": jnp.array([[0.0, 10.0, 0.0]])}
    used = quantizer.update_and_revive(books, hits, candidates, decay=0.9, dead=0.1)
    np.testing.assert_allclose(quantizer.codewords(used)[0, 1], 3.0, rtol=0.01)


def test_revival_finds_codewords_for_data_far_from_the_start():
    """Without revival one codeword is nearest to all frames; with revival most are used."""
    key = jax.random.key(0)
    targets = 5.0 + jax.random.normal(key, (1, 4, 64, WIDTH))
    mask = jnp.ones((4, 64), bool)
    start = quantizer.init(jax.random.key(1), books=1, codewords=WORDS, width=WIDTH)
    used = {}
    for revive in (False, True):
        books = jax.tree.map(lambda x: 0.1 * x, start)
        for step in range(20):
            codes = quantizer.assign(books, targets)
            batch = quantizer.statistics(targets, codes, mask, WORDS)
            order = jax.random.permutation(jax.random.key(step), 256).reshape(1, 4, 64)
            candidates = quantizer.statistics(targets, order, mask, WORDS)
            candidates = candidates if revive else jax.tree.map(jnp.zeros_like, candidates)
            books = quantizer.update_and_revive(books, batch, candidates, decay=0.9, dead=0.1)
        used[revive] = int((batch["counts"] > 0).sum())
    assert used[False] <= 8 < 24 <= used[True], used


def test_residual_codes_equal_a_loop():
    rng = np.random.default_rng(0)
    books, z = rng.normal(size=(3, 16, 5)), rng.normal(size=(2, 7, 5))
    codes = np.zeros((3, 2, 7), int)
    for row, frame in np.ndindex(2, 7):
        left = z[row, frame]
        for stage in range(3):
            distances = ((books[stage] - left) ** 2).sum(-1)
            codes[stage, row, frame] = distances.argmin()
            left = left - books[stage, distances.argmin()]
    ours = quantizer.encode(jnp.asarray(books, jnp.float32), jnp.asarray(z, jnp.float32))
    np.testing.assert_array_equal(ours, codes)
    for stages in (1, 3):
        expected = sum(books[s][codes[s]] for s in range(stages))
        decoded = quantizer.decode(jnp.asarray(books, jnp.float32), ours[:stages])
        np.testing.assert_allclose(decoded, expected, atol=1e-5)


def test_residual_skips_stages_and_rows():
    """Each row goes through its number of stages; rows that do not count have no statistics."""
    targets, _, books = problem()
    books = jax.tree.map(jnp.asarray, books)
    z, order = jnp.asarray(targets[0]), jnp.arange(ROWS * FRAMES).reshape(ROWS, FRAMES)
    counted, stages = jnp.array([[True], [True], [False]]), jnp.array([1, 2, 2])
    quantised, distances, sums = quantizer.residual(books, z, counted, order, stages)
    words = quantizer.codewords(books)
    codes = quantizer.encode(words, z)
    first, both = quantizer.decode(words, codes[:1]), quantizer.decode(words, codes)
    np.testing.assert_allclose(quantised[0], first[0], atol=1e-5)
    np.testing.assert_allclose(quantised[1:], both[1:], atol=1e-5)
    np.testing.assert_allclose(distances[0], jnp.square(z - first), atol=1e-5)
    np.testing.assert_allclose(distances[1][1:], jnp.square(z - both)[1:], atol=1e-5)
    assert (distances[1][0] == 0).all()
    assert sums["targets"]["counts"].sum(-1).tolist() == [2 * FRAMES, FRAMES]
    # The frames of the first two rows are candidates 0 to 39, of which the books have WORDS.
    assert sums["candidates"]["counts"][0].tolist() == [1] * WORDS
    np.testing.assert_allclose(sums["candidates"]["sums"][0], z.reshape(-1, WIDTH)[:WORDS])
    everything, _, _ = quantizer.residual(books, z, counted, order, None)
    np.testing.assert_allclose(everything, both, atol=1e-5)
