"""Lines about the progress of a run if there is no terminal."""

from uniwav_jax.train import progress

HEADLINE = (("loss", "loss {:.3f}"), ("wer", "WER {:.1%}"))


def test_lines_have_the_headline_and_the_time_left(capsys, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    shown = progress.Progress(1000, 100, HEADLINE, enabled=True)
    clock[0] += 50.0
    shown.update(200, {"loss": 1.5, "audio_seconds_per_second": 30.0, "other": 1.0})
    shown.message("warning: [brackets] stay")
    shown.close()
    assert capsys.readouterr().out.splitlines() == [
        "step 200/1000  loss 1.500  30.0 s audio/s  left 0:06:40",
        "warning: [brackets] stay",
    ]


def test_other_processes_print_nothing(capsys):
    shown = progress.Progress(10, 0, HEADLINE, enabled=False)
    shown.update(1, {"loss": 1.0})
    shown.message("warning")
    shown.close()
    assert capsys.readouterr().out == ""
