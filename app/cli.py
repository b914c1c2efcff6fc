"""The command line. Heavy imports happen inside commands, so that help and errors come at once."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # spinning threads starve everything else on shared cores

import typer

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help="Video that never has to stop."
)
models_app = typer.Typer(no_args_is_help=True, help="What the catalog holds.")
app.add_typer(models_app, name="models")


def models_folder() -> Path:
    """Where downloaded models lie: LONGTAKE_MODELS, or a folder in the user's data home."""
    home = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(os.environ.get("LONGTAKE_MODELS") or Path(home) / "longtake" / "models")


def engines_folder() -> Path:
    """Where exported engines lie, beside the models."""
    return models_folder().parent / "engines"


ENGINE_HELP = "auto, torch, onnx, openvino, tensorrt, or one with its precision, such as onnx:int8"


@app.command()
def render(
    take: Annotated[Path, typer.Argument(help="a take (.yaml), LongLive's .jsonl, or .txt with one prompt a line")],
    out: Annotated[Path, typer.Option("-o", "--out", help="the video to write")] = Path("out.mp4"),
    resume: Annotated[bool, typer.Option("--resume", help="go on after an interruption")] = False,
    extend: Annotated[str | None, typer.Option(help="make a finished render longer by this much, such as 30s")] = None,
    start: Annotated[
        str | None, typer.Option("--from", help="keep what is before, render anew from here, such as 12s")
    ] = None,
    scale: Annotated[int, typer.Option(min=1, max=8, help="enlarge the picture")] = 1,
    sheet: Annotated[Path | None, typer.Option(help="write a contact sheet (PNG)")] = None,
    report: Annotated[Path | None, typer.Option(help="write timings and landed cues (JSON)")] = None,
    model: Annotated[str | None, typer.Option(help="another model than the take names")] = None,
    switch_at: Annotated[int, typer.Option(min=1, help="latents between prompts of a .jsonl or .txt")] = 40,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda")] = "auto",
    engine: Annotated[str, typer.Option(help=ENGINE_HELP)] = "auto",
) -> None:
    """Render a take to a video file."""
    from streaming.take import load as load_take

    script = load_take(take, switch_at=switch_at)
    if model:
        script = script.model_copy(update={"model": model})
    _writable(out)
    from models.catalog import find

    entry = find(script.model)
    from app import render as rendering
    from models.checkpoints.assemble import folder_of, load

    where = rendering.torch_device(device)
    precision = rendering.torch.bfloat16 if where.type == "cuda" else rendering.torch.float32
    from app.engines import chosen

    loaded = chosen(load(entry, folder_of(entry, models_folder()), where, precision), engine, engines_folder())
    for cue in script.cues:
        for word, near in loaded.not_understood(cue.prompt or "").items():
            print(
                f"note: {entry.name} does not know {word!r}" + (f"; near: {', '.join(near)}" if near else ""),
                file=sys.stderr,
            )
    if extend:
        script = rendering.extended(script, extend, entry, out.with_name(f"{out.stem}.render"))
    limit = rendering.position(start, entry.fps) if start else None
    sound = None
    if entry.drive is None:
        job = rendering.Job(script, loaded, out, scale=scale)
    else:
        from app.avatar import job_of_take, with_sound

        job, sound = job_of_take(loaded, script, take.parent, out, scale)

    from app.progress import shown

    with shown(job) as progress:
        result = job.run(go_on=resume or extend is not None or start is not None, limit=limit, progress=progress)
    for note in result.notes():
        print(f"note: {note}", file=sys.stderr)
    if sound is not None:
        with_sound(job.out, sound, out)
    if report:
        rendering.write_report(result, job, report)
    if sheet:
        rendering.contact_sheet(out, sheet)
    seconds = (job.chunks * job.chunk * 4 - 3) / job.fps
    print(
        f"{out}: {seconds:.1f} s of video, {result.as_json()['fps']:.0f} fps, first frame after {result.first_frame_s} s"
    )


@app.command()
def avatar(
    audio: Annotated[Path | None, typer.Option("--audio", help="what is said: a sound file of any kind")] = None,
    say: Annotated[str | None, typer.Option("--say", help="or a text, read by espeak-ng")] = None,
    portrait: Annotated[Path | None, typer.Option("--portrait", help="who says it: a picture")] = None,
    face: Annotated[str, typer.Option("--face", help="or a face: ada, bo, cem … or hair=curly,skin=deep")] = "ada",
    out: Annotated[Path, typer.Option("-o", "--out", help="the video to write")] = Path("avatar.mp4"),
    resume: Annotated[bool, typer.Option("--resume", help="go on after an interruption")] = False,
    scale: Annotated[int, typer.Option(min=1, max=8, help="enlarge the picture")] = 1,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda")] = "auto",
    engine: Annotated[str, typer.Option(help=ENGINE_HELP)] = "auto",
) -> None:
    """Let a portrait speak, and write the film with its sound."""
    if (audio is None) == (say is None):
        raise SystemExit(_fail("say either --audio with a sound file or --say with a text"))
    _writable(out)
    from app import avatar as avatars
    from app.engines import chosen
    from app.faces import drawn, face_named
    from app.progress import shown
    from app.render import torch, torch_device
    from models.catalog import AVATAR
    from models.checkpoints.assemble import folder_of, load

    picture = avatars.portrait_of(portrait, AVATAR.size) if portrait else drawn(face_named(face))
    sound = audio or avatars.said(say or "", out)
    where = torch_device(device)
    precision = torch.bfloat16 if where.type == "cuda" else torch.float32
    model = chosen(load(AVATAR, folder_of(AVATAR, models_folder()), where, precision), engine, engines_folder())
    doubt = avatars.doubt(model, picture)
    if doubt:
        print(f"note: {doubt}", file=sys.stderr)
    job = avatars.job_of(model, picture, sound, out, seed, scale)
    with shown(job) as progress:
        result = job.run(go_on=resume, progress=progress)
    for note in result.notes():
        print(f"note: {note}", file=sys.stderr)
    avatars.with_sound(job.out, sound, out)
    print(f"{out}: {result.frames / job.fps:.1f} s of video, {result.as_json()['fps']:.0f} fps")


@models_app.command("list")
def list_models() -> None:
    """One line a model."""
    from models.catalog import ENTRIES
    from models.checkpoints.assemble import folder_of, missing_files

    for entry in ENTRIES.values():
        here = "here" if not missing_files(entry, folder_of(entry, models_folder())) else "to pull"
        print(f"{entry.name:14} {here:8} {entry.title}")


@models_app.command("show")
def show_model(name: str) -> None:
    """All that the catalog says about a model."""
    from app.vocabulary import understands
    from models.catalog import find
    from models.checkpoints.assemble import folder_of

    entry = find(name)
    r = entry.rollout
    print(f"{entry.name}: {entry.title}\n")
    for source in entry.sources:
        print(
            f"from      {source.repo or 'assets/ (ships with Longtake)'}: {', '.join(source.files)}\nlicence   {source.licence}"
        )
    print(f"folder    {folder_of(entry, models_folder())}")
    print(f"picture   {entry.size[0]}x{entry.size[1]} at {entry.fps} fps")
    print(
        f"rollout   chunk {r.chunk}, window {r.window}, sink {r.sink}, steps at sigma {', '.join(f'{s:.3g}' for s in r.schedule.sigmas)}"
    )
    print(f"defaults  anchor {r.anchor}, on_switch {r.on_switch}, sink_on_switch {r.sink_on_switch}")
    for attribute, values in understands(entry).items():
        said = ", ".join(" = ".join(ways) or "(nothing)" for ways in values)
        print(f"{attribute:9} {said}")
    if entry.notes:
        print(f"note      {entry.notes}")


@models_app.command("pull")
def pull_model(
    name: str,
    source: Annotated[Path | None, typer.Option("--from", help="copy from this folder instead of the hub")] = None,
) -> None:
    """Fetch a model's files; goes on where it was interrupted."""
    from app import pull
    from models.catalog import find
    from models.checkpoints.assemble import folder_of, missing_files

    entry = find(name)
    folder = folder_of(entry, models_folder())
    if all(not s.repo for s in entry.sources):
        print(f"{entry.name} ships with Longtake; there is nothing to pull")
        return
    for origin in entry.sources:
        print(f"{origin.repo}: {', '.join(origin.files)}\nlicence: {origin.licence}")
    if source is not None:
        if not source.is_dir():
            raise pull.PullError(f"{source}: no such folder")
        from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn

        with Progress(DownloadColumn(), BarColumn(), TimeRemainingColumn()) as bar:
            task = bar.add_task("copy", total=None)
            pull.from_folder(entry, folder, source, lambda n, total: bar.update(task, completed=n, total=total))
    else:
        pull.from_hub(entry, folder)
    missing = missing_files(entry, folder)
    if missing:
        raise pull.PullError(f"{folder}: {missing[0]} has not come")
    print(f"{entry.name} is here: {folder}")


@app.command()
def bench(
    name: Annotated[str, typer.Argument(metavar="MODEL")] = "pocket",
    random_weights: Annotated[bool, typer.Option("--random-weights", help="true size, no files needed")] = False,
    chunks: Annotated[int, typer.Option(min=1, help="chunks to measure, after the window is full")] = 16,
    size: Annotated[str | None, typer.Option(help="another picture size, such as 832x480")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda")] = "auto",
    log: Annotated[Path, typer.Option(help="Markdown file to append to")] = Path("bench.md"),
    engine: Annotated[str, typer.Option(help=ENGINE_HELP)] = "torch",
) -> None:
    """Measure how fast a model rolls out here, and append the figures to a log."""
    from models.catalog import find

    entry = find(name)
    from app import bench as bench_
    from app.render import torch, torch_device
    from models.checkpoints.assemble import folder_of, load, random_model
    from streaming.take import size_of

    where = torch_device(device)
    precision = torch.bfloat16 if where.type == "cuda" else torch.float32
    width_height = size_of(size) if size else entry.size
    build = random_model(entry, where, precision) if random_weights else None
    loaded = build or load(entry, folder_of(entry, models_folder()), where, precision)
    if engine != "torch":
        from app.engines import chosen

        loaded = chosen(loaded, engine, engines_folder())
    length = 512 if entry.text == "umt5" else 20
    result = bench_.measure(loaded, width_height, chunks, length)
    text = bench_.as_markdown(result, loaded, width_height, random_weights=random_weights)
    if width_height == entry.size:
        from app.footprint import Speeds

        Speeds(models_folder()).measured(entry.name, where.type, result.end_to_end_fps, "bench")
    print(text.rstrip())
    with log.open("a", encoding="utf-8") as f:
        f.write(text)


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="another address than this machine's own needs a token")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 7860,
    insecure: Annotated[bool, typer.Option("--insecure", help="no token, whoever may reach the address")] = False,
    tls_cert: Annotated[Path | None, typer.Option(help="certificate (PEM)")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="private key (PEM)")] = None,
    data: Annotated[Path | None, typer.Option(help="folder of takes")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda")] = "auto",
    engine: Annotated[str, typer.Option(help=ENGINE_HELP)] = "auto",
) -> None:
    """Open the studio: a page on which a prompt turns the running video."""
    token = os.environ.get("LONGTAKE_TOKEN") or None
    local = host in ("127.0.0.1", "::1", "localhost")
    if not local and token is None and not insecure:
        raise SystemExit(_fail(f"{host} can be reached by others: set LONGTAKE_TOKEN, or say --insecure"))
    if (tls_cert is None) != (tls_key is None):
        raise SystemExit(_fail("--tls-cert and --tls-key go together"))
    for file in (tls_cert, tls_key):
        if file is not None and not file.is_file():
            raise SystemExit(_fail(f"{file}: no such file"))
    from app import gradio_page, server
    from app.engines import check, chosen_or_torch
    from app.render import torch, torch_device
    from app.studio import Studio, ice_servers

    where = torch_device(device)
    if engine not in ("auto", "torch"):  # what is missing is better said now than by a server that is half up
        from models.catalog import POCKET
        from models.checkpoints.assemble import ASSETS, load

        check(load(POCKET, ASSETS, where, torch.float32), engine, engines_folder())
    ice = ice_servers(os.environ.get("LONGTAKE_ICE"))
    studio = Studio(models_folder(), data or models_folder().parent / "studio", where, ice=ice)
    studio.engine = lambda model: chosen_or_torch(model, engine, engines_folder())
    page = gradio_page.mount(server.create(studio, token, local=local))
    import uvicorn

    scheme = "https" if tls_cert else "http"
    print(f"Longtake listens on {scheme}://{host}:{port}", flush=True)
    tls = {"ssl_certfile": tls_cert, "ssl_keyfile": tls_key}
    uvicorn.run(page, host=host, port=port, log_level="warning", timeout_graceful_shutdown=3, **tls)


@app.command()
def export(
    name: Annotated[str, typer.Argument(metavar="MODEL")],
    engine: Annotated[str, typer.Option(help="onnx, openvino or tensorrt")] = "onnx",
    precision: Annotated[str, typer.Option(help="fp32, fp16 or int8")] = "int8",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda")] = "auto",
) -> None:
    """Build an engine for a model on this machine, and measure how close it comes to torch."""
    from models.catalog import find

    entry = find(name)
    from rich.console import Console

    from app.engines import export as export_
    from app.render import torch, torch_device
    from models.checkpoints.assemble import folder_of, load

    where = torch_device(device)
    dtype = torch.bfloat16 if where.type == "cuda" else torch.float32
    model = load(entry, folder_of(entry, models_folder()), where, dtype)
    with Console(stderr=True).status("exporting") as status:
        print(export_(model, engine, precision, engines_folder(), status.update))


@app.command("eval")
def evaluate(
    folder: Annotated[Path, typer.Option("-o", "--out", help="folder for table, results and plot")] = Path("eval"),
    prompts: Annotated[int, typer.Option(min=1, help="held-out prompts")] = 24,
    seeds: Annotated[int, typer.Option(min=1)] = 3,
    ablate: Annotated[bool, typer.Option("--ablate", help="every arm, not only the default way")] = False,
    latents: Annotated[int, typer.Option(min=0, help="length of the long streams; 0: none")] = 0,
    streams: Annotated[int, typer.Option(min=1, help="long streams")] = 8,
    switch_every: Annotated[int, typer.Option(min=0, help="chunks between a long stream's prompts; 0: one prompt")] = 0,
    before: Annotated[
        Path | None, typer.Option(help="folder of another pocket (as assets/), compared as one more arm")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda")] = "auto",
) -> None:
    """Let the judge say how well pocket does what it is told."""
    from rich.console import Console

    from app import evaluate as evaluation
    from app.render import torch, torch_device
    from models.catalog import POCKET
    from models.checkpoints.assemble import ASSETS, load
    from models.judge import classifier, train
    from streaming.rollout import record_of

    where = torch_device(device)
    model = load(POCKET, ASSETS, where, torch.float32)
    judge = classifier.load(ASSETS / "judge" / "judge.safetensors")
    arms = evaluation.arms(model)
    default = arms[0]
    if before is not None:
        arms.insert(1, evaluation.Arm("before", load(POCKET, before, where, torch.float32), default.config))
    if not ablate:
        arms = [a for a in arms if a.name in ("default", "before")]
    with Console().status("the judge looks at the world") as status:
        ceiling = train.report(judge, clips=200)["through the codec"]
        for arm in arms:
            evaluation.short(judge, arm, evaluation.prompts(prompts), seeds, status.update)
        chosen = [a for a in arms if a.name in ("default", "before", "no sink", "anchor fixed")] if latents else []
        drifts = [evaluation.long(judge, a, streams, latents, status.update, switch_every) for a in chosen]
    print(evaluation.save(folder, arms, drifts, ceiling, dict(record_of(model, where))))
    evaluation.sheet(model, folder / "sheet.png")


@app.command("eval-avatar")
def evaluate_avatar(
    folder: Annotated[Path, typer.Option("-o", "--out", help="folder for table, results and sheet")] = Path("eval"),
    faces: Annotated[int, typer.Option(min=1, help="faces that were never trained on")] = 6,
    seconds: Annotated[float, typer.Option(min=8, help="of speech each")] = 60,
    seeds: Annotated[int, typer.Option(min=1)] = 1,
    ablate: Annotated[bool, typer.Option("--ablate", help="every seam and place of the reference")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda")] = "auto",
) -> None:
    """Measure seams, likeness and lip sync of pocket-avatar."""
    from rich.console import Console

    from app import evaluate_avatar as evaluation
    from app.render import torch, torch_device
    from models.catalog import AVATAR
    from models.checkpoints.assemble import ASSETS, load
    from models.judge import face as reading
    from streaming.rollout import record_of

    where = torch_device(device)
    model = load(AVATAR, ASSETS, where, torch.float32)
    reader = reading.load(ASSETS / "judge" / "face.safetensors")
    arms = [a for a in evaluation.arms(model.entry.rollout) if ablate or a.name == "knot 1"]
    with Console().status("a face begins to speak") as status:
        for arm in arms:
            evaluation.run(model, reader, arm, faces, seconds, seeds, status.update)
    print(evaluation.save(folder, arms, dict(record_of(model, where))))
    evaluation.sheet(model, folder / "avatar.png", faces)


def _fail(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return 1


def _writable(out: Path) -> None:
    """Said before minutes of work, not after them."""
    if out.suffix != ".mp4":
        raise SystemExit(_fail(f"{out}: the output is an .mp4 file"))
    if not out.parent.is_dir() or not os.access(out.parent, os.W_OK):
        raise SystemExit(_fail(f"{out}: the folder {out.parent} does not exist or cannot be written"))


MENDABLE = {
    "TakeError",
    "CheckpointError",
    "RenderError",
    "PullError",
    "UnknownModelError",
    "SizeError",
    "IceError",
    "ExportError",
    "SpeechError",
    "VoiceError",
}


def main() -> None:
    """Run a command; what a person can mend is one line and exit code 1, never a traceback."""
    try:
        app()
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except Exception as e:
        # by name, as importing their modules would cost every command seconds; any other error is ours and keeps its trace
        if type(e).__name__ in MENDABLE:
            raise SystemExit(_fail(str(e.args[0] if e.args else e))) from None
        if isinstance(e, OSError):
            raise SystemExit(_fail(f"{e.filename or 'file'}: {e.strerror or e}")) from None
        raise


if __name__ == "__main__":
    main()
