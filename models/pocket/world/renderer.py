"""Draw clips of the procedural world that pocket models are trained on, with OpenCV and numpy, at any size.

Everything that moves is a function of the time since its motion began, with a period of 24 frames (a chunk is 12) or
in steps of a latent cell, sides are whole cells of the network apart, and a change of scene is an 8-frame cross-fade
that starts at a chunk border: the less a prompt leaves open, the less a small network must learn. What it leaves open
is drawn from `UNSAID`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from models.pocket.world.landmarks import draw_companion, draw_landmark
from models.pocket.world.motion import GROUND, SUBJECT_RADIUS, Pose, pose
from models.pocket.world.scene import WALKERS, Scene
from models.pocket.world.scenery import draw_place
from models.pocket.world.sky import Air, draw_sky
from models.pocket.world.subjects import FINE, REACH, sprite
from models.pocket.world.weather import fall, mist, waves

Picture = NDArray[np.uint8]  # [size, size, 3] RGB

FADE_FRAMES = 8


@dataclass(frozen=True)
class Beat:
    """Show `scene` in a clip from `frame` on."""

    frame: int
    scene: Scene


@lru_cache(maxsize=512)
def _ground(place: str, light: str, weather: str, palette: str, hour: str, size: int) -> Picture:
    canvas = np.empty((size, size, 3), np.float32)
    air = Air(light, palette, weather, hour)
    draw_sky(canvas, air)
    draw_place(canvas, air, place)
    return np.clip(np.round(canvas), 0, 255).astype(np.uint8)


def landmark_right(scene: Scene) -> bool:
    """Return whether the landmark stands at the right edge: across from a subject that stays at a side."""
    if scene.says("side") and scene.side != "middle":
        return scene.side == "left"
    return scene.layout == "turned"


@lru_cache(maxsize=32)
def _backdrop(scene: Scene, size: int) -> Picture:
    """Draw all that stands still behind the subject; `scene` has the default size, colour, subject and motion."""
    ground = _ground(scene.place, scene.light, scene.weather, scene.palette, scene.hour, size)
    if scene.layout == "turned":
        ground = ground[:, ::-1]
    canvas, air, right = (
        ground.astype(np.float32),
        Air(scene.light, scene.palette, scene.weather, scene.hour),
        landmark_right(scene),
    )
    draw_landmark(canvas, air, scene.landmark, scene.place, right=right)
    draw_companion(canvas, air, scene.companion, right=not right)
    picture = np.clip(np.round(canvas), 0, 255).astype(np.uint8)
    picture.setflags(write=False)
    return picture


def backdrop(scene: Scene, size: int) -> Picture:
    """Draw what stands still behind a scene's subject: [size, size, 3] uint8, read-only and cached."""
    side = (
        ("right" if not landmark_right(scene) else "left")
        if scene.says("side") and scene.side != "middle"
        else "middle"
    )
    plain = Scene(
        side=side,
        place=scene.place,
        light=scene.light,
        weather=scene.weather,
        layout=scene.layout,
        landmark=scene.landmark,
        palette=scene.palette,
        hour=scene.hour,
        companion=scene.companion,
    )
    return _backdrop(plain, size)


def _shadow(picture: Picture, scene: Scene, at: Pose) -> None:
    """Darken the ground beneath the subject, more the nearer it is."""
    size, radius = picture.shape[0], SUBJECT_RADIUS[scene.size]
    near = max(0.0, 1 - (GROUND - radius - at.y) / 0.42)
    half, flat = radius * (0.62 + 0.3 * near), 0.018 + 0.008 * near
    x0, x1 = max(0, math.floor((at.x - 1.5 * half) * size)), min(size, math.ceil((at.x + 1.5 * half) * size))
    y0, y1 = max(0, math.floor((GROUND - 2.2 * flat) * size)), min(size, math.ceil((GROUND + 2.2 * flat) * size))
    if x0 >= x1:
        return
    across = ((np.arange(x0, x1, dtype=np.float32) + 0.5) / size - at.x) / half
    down = ((np.arange(y0, y1, dtype=np.float32) + 0.5) / size - GROUND) / flat
    far = across[None, :] ** 2 + down[:, None] ** 2
    keep = 255 - np.float32(255 * (0.26 + 0.26 * near)) * np.clip(1.25 - far, 0, 1) ** 1.5
    part = picture[y0:y1, x0:x1]
    cv2.multiply(part, cv2.cvtColor(keep.astype(np.uint8), cv2.COLOR_GRAY2RGB), part, 1 / 255)


def _placement(
    scene: Scene, at: Pose, size: int
) -> tuple[NDArray[np.uint8], tuple[int, int, int, int], NDArray[np.float64]] | None:
    """Return a subject's sprite, the pixels (x0, y0, x1, y1) it falls on, and the map from these to the sprite."""
    mirrored = scene.motion == "left" and scene.subject == "fish"
    paint = sprite(scene.subject, scene.colour, scene.size, size, facing_left=mirrored).paint
    n = paint.shape[0]
    tall, wide = at.squash, 1 / math.sqrt(at.squash)
    low = at.y + (1 - tall) * SUBJECT_RADIUS[scene.size]  # a squashed subject keeps its foot where it was
    hx, hy = n / 2 / FINE * wide, n / 2 / FINE * tall
    x0, x1 = max(0, math.floor(at.x * size - hx)), min(size, math.ceil(at.x * size + hx))
    y0, y1 = max(0, math.floor(low * size - hy)), min(size, math.ceil(low * size + hy))
    if x0 >= x1 or y0 >= y1:
        return None
    kx, ky = FINE / wide, FINE / tall
    matrix = np.array(
        [
            [kx, 0, (x0 + 0.5 - at.x * size) * kx + n / 2 - 0.5],
            [0, ky, (y0 + 0.5 - low * size) * ky + n / 2 - 0.5],
        ]
    )
    return paint, (x0, y0, x1, y1), matrix


def _subject(picture: Picture, scene: Scene, at: Pose) -> None:
    placed = _placement(scene, at, picture.shape[0])
    if placed is None:
        return
    paint, (x0, y0, x1, y1), matrix = placed
    here = cv2.warpAffine(paint, matrix, (x1 - x0, y1 - y0), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    part = picture[y0:y1, x0:x1]
    keep = cv2.cvtColor(cv2.bitwise_not(here[..., 3]), cv2.COLOR_GRAY2RGB)
    cv2.multiply(part, keep, part, 1 / 255)
    cv2.add(part, cv2.cvtColor(here, cv2.COLOR_RGBA2RGB), part)


def places(scene: Scene, motion_t: float) -> list[Pose]:
    """Return where the subject is seen: one pose, two while a walker leaves on one side and comes in on the other."""
    at = pose(scene, motion_t)
    reach = (REACH + 0.2) * SUBJECT_RADIUS[scene.size]
    shifts = (-1.0, 0.0, 1.0) if scene.motion in WALKERS else (0.0,)
    return [Pose(at.x + d, at.y, at.squash) for d in shifts if -reach < at.x + d < 1 + reach]


def draw_scene(scene: Scene, t: int, motion_t: int, size: int = 256) -> Picture:
    """Draw the scene at frame `t` of its clip, `motion_t` frames after its present motion began."""
    picture = backdrop(scene, size).copy()
    if scene.place == "sea":
        waves(picture, Air(scene.light, scene.palette, scene.weather, scene.hour), t)
    if scene.weather in ("rain", "snow"):
        fall(picture, scene.weather, scene.light, t)
    elif scene.weather == "fog":
        mist(picture, scene.light, t)
    at = places(scene, motion_t)
    for each in at:
        _shadow(picture, scene, each)
    for each in at:
        _subject(picture, scene, each)
    return picture


def draw_clip(
    beats: Sequence[Beat], frames: int, size: int = 256, start: int = 0
) -> tuple[Picture, NDArray[np.float32]]:
    """Draw frames start … start+frames-1 of a clip.

    Args:
        beats: scenes by their first frame; `beats[0].frame` is 0. A later scene fades in over `FADE_FRAMES` frames,
            and its motion begins anew if it differs from the one before.
        size: width and height in pixels; the drawing keeps its proportions.

    Returns:
        Frames [frames, size, size, 3] uint8 RGB, and the subject's centre [frames, 2] (x, y) float32 in 0..1.
    """
    clip = np.empty((frames, size, size, 3), np.uint8)
    centres = np.empty((frames, 2), np.float32)
    current, began = 0, 0
    previous = (beats[0].scene, 0)
    for f in range(start, start + frames):
        while current + 1 < len(beats) and beats[current + 1].frame <= f:
            previous = (beats[current].scene, began)
            current += 1
            if beats[current].scene.motion != previous[0].motion:
                began = beats[current].frame
        scene = beats[current].scene
        picture = draw_scene(scene, f, f - began, size)
        fade = (f - beats[current].frame + 1) / FADE_FRAMES
        if current > 0 and fade < 1:
            old = draw_scene(previous[0], f, f - previous[1], size)
            picture = cv2.addWeighted(picture, fade, old, 1 - fade, 0)
        at = pose(scene, f - began)
        clip[f - start], centres[f - start] = picture, (at.x, at.y)
    return clip, centres
