"""`uniwav data ...`: from a folder of recordings to what training reads."""

import argparse
import os
import pathlib
import tempfile

from uniwav_jax.cli import Run, files


def manifest(parser: argparse.ArgumentParser) -> Run:
    """Make a manifest from a folder of speech or from a list of files.

    SPEECH is a folder, searched to the bottom, or a list (.tsv, .csv or .jsonl) with a column
    `path`. Texts are taken from NAME.txt beside the audio, from LibriSpeech's transcripts, or from
    the list. Lengths come from the files' own headers. The manifest is tab-separated with a header
    line: path, samples (at the file's own rate), sample_rate, speaker, text. Paths are relative to
    the manifest's folder where the file lies below it, otherwise absolute.
    """
    parser.add_argument("speech", metavar="SPEECH", help="folder, or list of files")
    parser.add_argument("--out", required=True, help="manifest to write")
    parser.add_argument("--eval_out", help="second manifest, for an evaluation set")
    parser.add_argument("--eval_fraction", type=float, default=0.05, help="its share of the speech")
    parser.add_argument("--workers", type=int, default=16, help="threads that read headers")
    parser.add_argument("--min_seconds", type=float, default=0.0, help="leave out shorter clips")
    parser.add_argument(
        "--speaker_from_folder", action="store_true", help="speaker = name of the file's folder"
    )

    def run(args: argparse.Namespace) -> int:
        from uniwav_jax.data import build

        build.build(**vars(args))
        return 0

    return run


def check(parser: argparse.ArgumentParser) -> Run:
    """Decode every clip of a manifest and name what would go wrong in training.

    Prints a table of problems, then what each means and what to do about it. The exit status is 0
    when a run can start, and 1 when something would stop or spoil it.
    """
    parser.add_argument("manifest", metavar="MANIFEST", help="made by uniwav data manifest")
    parser.add_argument("--limit", type=int, default=0, help="decode only N clips, evenly spread")
    parser.add_argument("--report", help="table to write, with one row for each decoded clip")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="threads")

    def run(args: argparse.Namespace) -> int:
        from uniwav_jax.data import check as check_lib

        good = check_lib.check(
            args.manifest, limit=args.limit, report=args.report, workers=args.workers
        )
        return 0 if good else 1

    return run


def pack(parser: argparse.ArgumentParser) -> Run:
    """Pack a manifest's clips into sharded ArrayRecord: few files, no decoding while training.

    The result is a tensorflow-datasets folder with a manifest.tsv inside; train with
    --config.data.manifest=OUT. Unreadable clips are left out and listed.
    """
    parser.add_argument("manifest", metavar="MANIFEST", help="with path, samples, sample_rate")
    parser.add_argument("--out", required=True, help="new folder for the packed records")
    parser.add_argument("--sample_rate", type=int, default=16000, help="Hz; default: 16000")
    parser.add_argument("--shard_seconds", type=float, default=7200, help="audio in one shard")
    parser.add_argument("--workers", type=int, default=min(os.cpu_count() or 1, 16), help="threads")

    def run(args: argparse.Namespace) -> int:
        from uniwav_jax.data import pack as pack_lib

        pack_lib.pack(**vars(args))
        return 0

    return run


def convert(parser: argparse.ArgumentParser) -> Run:
    """Convert audio of any kind (MP3, m4a, G.722, video, ...) to FLAC, 16 kHz, mono.

    Every audio file below FOLDER becomes OUT/SAME/NAME.flac. Files that are up to date are skipped,
    so the same command continues after an interruption. NAME.txt beside a file is copied.

    --texts takes a list of prompts as telephone sound packages have it, one `NAME: text` a line
    (plain or .gz), where NAME is the path below FOLDER without suffix. It writes OUT/NAME.txt,
    which `uniwav data manifest` reads.
    """
    parser.add_argument("folder", metavar="FOLDER", help="audio, searched to the bottom")
    parser.add_argument("--out", required=True, help="folder for the FLAC files")
    parser.add_argument("--suffixes", default="", help=".g722,.m4a: kinds to convert; default: all")
    parser.add_argument("--texts", help="list of prompts: lines `NAME: text`, plain or .gz")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="threads")

    def run(args: argparse.Namespace) -> int:
        from uniwav_jax.data import convert as convert_lib

        options = {"suffixes": args.suffixes, "texts": args.texts, "workers": args.workers}
        convert_lib.convert_folder(args.folder, args.out, **options)
        return 0

    return run


def cut(parser: argparse.ArgumentParser) -> Run:
    """Cut long clips into clips with text, at their pauses by TextGrids, or by a list's segments.

        uniwav align long.tsv --checkpoint runs/asr --out aligned
        uniwav data cut long.tsv --alignments aligned --seconds 5 --out data/short

    CTC learns sooner from short clips, and clips longer than the longest bucket are not used by it.
    The TextGrids may be those of the Montreal Forced Aligner. Each piece ends in the middle of the
    last pause before --seconds; where there is none it runs to the next pause. OUT gets FLAC files
    and manifest.tsv. Clips without a TextGrid, and pieces with words that the aligner did not know
    (<unk>), are left out and counted. Needs pip install "uniwav_jax[align]".

    Without --alignments the first argument is a list whose rows have a start (or offset), end or
    duration in seconds, as NeMo's, or a Kaldi folder with segments; each row becomes a file.

    A file that cannot be read is named and left out; the others are cut, and the status is 1.
    """
    parser.add_argument("manifest", metavar="MANIFEST|LIST|FOLDER", help="the clips to cut")
    parser.add_argument("--alignments", help="folder of NAME.TextGrid")
    parser.add_argument("--seconds", type=float, default=5.0, help="at most; default: 5")
    parser.add_argument("--pause", type=float, default=0.08, help="seconds of silence; default .08")
    parser.add_argument("--out", required=True, help="folder")

    def run(args: argparse.Namespace) -> int:
        from uniwav_jax.data import cut as cut_lib

        if args.alignments:
            failed = cut_lib.cut(**vars(args))
        else:
            failed = cut_lib.cut_segments(args.manifest, args.out)
        return int(failed > 0)

    return run


def latents(parser: argparse.ArgumentParser) -> Run:
    """Encode a corpus with a codec once, so that training reads latents and not audio.

    Train with --config.data.manifest=OUT --config.features.kind=codec
    --config.features.codec=CODEC: the batches are those of encoding on the fly, to float16.

    Any number of hosts share the work when each is started with its --host of --hosts on one file
    system; the last to end puts the folder together. After an interruption the same command goes
    on, and finished shards are kept. Unreadable clips are left out and listed in left_out.tsv.
    """
    parser.add_argument("manifest", metavar="MANIFEST", help="manifest file or packed folder")
    parser.add_argument("--codec", required=True, help="codec folder, see uniwav import codec")
    parser.add_argument("--out", required=True, help="new folder")
    parser.add_argument("--host", type=int, default=0, help="number of this process, from 0")
    parser.add_argument("--hosts", type=int, default=1, help="processes that share the work")
    parser.add_argument("--shard_seconds", type=float, default=7200.0, help="audio in one shard")
    parser.add_argument("--batch_seconds", type=float, default=64.0, help="audio encoded at once")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="batches in flight")

    def run(args: argparse.Namespace) -> int:
        from uniwav_jax.inference import latents as latents_lib

        options = vars(args)
        places = [options.pop(name) for name in ("manifest", "codec", "out")]
        latents_lib.extract(*places, **options)
        return 0

    return run


def stats(parser: argparse.ArgumentParser) -> Run:
    """Measure the feature statistics once, for several runs on the same speech.

    Train with --config.features.stats=OUT. Without it each run measures at its start, which gives
    the same numbers for the same data and config. Clips that cannot be read are named and listed in
    OUT.bad_files.tsv, and the status is 1.
    """
    parser.add_argument("manifest", metavar="MANIFEST", help="as config.data.manifest")
    parser.add_argument("--config", required=True, help="name or path of the runs' config")
    parser.add_argument("--out", required=True, help="JSON file to write")
    parser.add_argument("--seconds", type=float, help="audio to measure; default: the config's")

    def run(args: argparse.Namespace) -> int:
        from uniwav_jax import config as config_lib
        from uniwav_jax import features as features_lib
        from uniwav_jax.config import recipes
        from uniwav_jax.data import pipeline, plan
        from uniwav_jax.features import statistics
        from uniwav_jax.train import loop

        values = recipes.load(args.config)
        values.data.manifest = args.manifest
        if args.seconds:
            values.features.stats_seconds = args.seconds
        config = config_lib.from_dict(values)
        features = features_lib.build(config.features)
        listed = pathlib.Path(f"{args.out}.bad_files.tsv")
        listed.unlink(missing_ok=True)  # of an earlier call
        bad_files = pipeline.BadFileReport(str(listed), config.data)
        with tempfile.TemporaryDirectory() as cache:
            batches = plan.BatchPlan(config, cache=cache)
            params = loop.measure_features(config, features, batches, bad_files)
        statistics.save(args.out, params, config.features)
        print(f"means {params['mean'].round(2).tolist()}")
        print(f"stds  {params['std'].round(2).tolist()}")
        print(f"use with --config.features.stats={args.out}")
        for name, reason in bad_files.problems.items():
            files.report(f"{name}: {reason}")
        return int(bool(bad_files.problems))

    return run


def phones(parser: argparse.ArgumentParser) -> Run:
    """Add the columns phones and phone_ends to a manifest, from TextGrids.

    Speech synthesis (--config=tts_demo) learns from them. FOLDER has a file NAME.TextGrid for each
    clip, with the tiers "phones" and "words", as the Montreal Forced Aligner and `uniwav align`
    write them. Clips without one are left out; TextGrids that do not fit are named, and the status
    is 1. `uniwav data pack` keeps the columns.
    """
    parser.add_argument("manifest", metavar="MANIFEST", help="made by uniwav data manifest")
    parser.add_argument("--alignments", required=True, help="folder of NAME.TextGrid")
    parser.add_argument("--out", required=True, help="manifest to write")

    def run(args: argparse.Namespace) -> int:
        from uniwav_jax.data import align_columns

        return int(bool(align_columns.add(args.manifest, args.alignments, args.out)))

    return run


def speech_list(parser: argparse.ArgumentParser) -> Run:
    """Make the list of clips and prompts with which speech synthesis is judged.

    --protocol continuation: the first 3 s of each clip are kept, and the rest is spoken.
    --protocol cross: each clip is spoken in the voice of the first 3 s of another clip of its
    speaker. The list is a manifest with the columns prompt and prompt_text, and, if MANIFEST has
    phones, prompt_phones and prompt_phone_ends: uniwav evaluate speech --manifest OUT. The same
    manifest always gives the same list.
    """
    parser.add_argument("manifest", metavar="MANIFEST", help="with texts, speakers and phones")
    parser.add_argument("--protocol", required=True, help="continuation or cross")
    parser.add_argument("--out", required=True, help="list to write (.tsv)")
    parser.add_argument("--min_seconds", type=float, default=4.0, help="of clips; default: 4")
    parser.add_argument("--max_seconds", type=float, default=10.0, help="of clips; default: 10")

    def run(args: argparse.Namespace) -> int:
        from uniwav_jax.data import speech_list as lists

        options = vars(args)
        lists.write(options.pop("manifest"), options.pop("out"), **options)
        return 0

    return run


def lm(parser: argparse.ArgumentParser) -> Run:
    """Build an n-gram model of words from text, for beam search: uniwav transcribe --lm OUT.

    Sources are manifests (their column text) and .txt files, one sentence a line. The text is
    written as the recogniser writes it: single spaces and, without --keep_case, lower case. `lmplz`
    and `build_binary` of kenlm do the work; where they are not installed the error says how to
    build them.
    """
    parser.add_argument("sources", nargs="+", metavar="MANIFEST|TEXT")
    parser.add_argument("--out", required=True, help="FILE.bin (kenlm's binary) or FILE.arpa")
    parser.add_argument("--order", type=int, default=4, help="n; default: 4")
    parser.add_argument("--memory", default="1G", help="of lmplz; default: 1G")
    parser.add_argument("--keep_case", action="store_true", help="for asr.lowercase=False")
    parser.add_argument("--kenlm", help="folder of lmplz and build_binary; default: the PATH")

    def run(args: argparse.Namespace) -> int:
        from uniwav_jax.data import language_model

        options = {"order": args.order, "memory": args.memory, "kenlm": args.kenlm}
        language_model.build(args.sources, args.out, lowercase=not args.keep_case, **options)
        return 0

    return run
